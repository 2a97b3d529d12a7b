// What a browser makes of the status page: each test looks at the real page of the real binary, in Chromium.
import assert from "node:assert/strict";
import { mkdirSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { resolve } from "node:path";
import { Exporter, Upstream, certificate } from "./exporter.mjs";

const require = createRequire(`${resolve("target/browser/modules")}/`);
const { chromium } = require("playwright-core");
const axe = readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");

const PICTURES = "target/browser";
const WIDE = { width: 1280, height: 900 };
// As narrow as a page 1,280 pixels wide at 400 %.
const SMALL = { width: 320, height: 640 };
const SCREENS = [
  ["large", { width: 1920, height: 1080 }],
  ["wide", WIDE],
  ["narrow", { width: 1160, height: 800 }],
  ["middle", { width: 768, height: 1024 }],
  ["small", SMALL],
];
const LOOKS = {
  light: { colorScheme: "light" },
  dark: { colorScheme: "dark" },
  forced: { forcedColors: "active" },
  small: { viewport: SMALL },
  // 1,280 × 1,024 at 400 %.
  zoomed: { viewport: { width: 320, height: 256 } },
};
const HOSTILE = [
  "</title></td></table><script>alert(1)</script>",
  "\"><img src=x onerror=alert(1)>",
  "{{ 7 * 7 }} {% raw %} ${7*7}",
  "\u202egnp.exe\u2066 reversed",
  "a\nb\tc\u0000d\u001b[31m",
  "Z\u0351\u036b\u0343\u036a\u0302\u036b\u033d\u034f\u0334\u0319\u0324\u031e\u0349\u035a\u032f\u031e\u0320\u034da\u036b\u0357\u0334\u0362\u0335\u031c\u0330\u0354l\u0368\u0367\u0369\u0358\u0320".repeat(9),
  "x".repeat(5_000),
  "ﷺ".repeat(200),
  "👩‍👩‍👧‍👦".repeat(60),
  "   ",
  "javascript:alert(1)",
];

const running = [];
const keep = async (started) => {
  const thing = await started;
  running.push(thing);
  return thing;
};
mkdirSync(PICTURES, { recursive: true });
const browser = await chromium.launch({ executablePath: "/usr/bin/chromium", args: ["--no-sandbox", "--disable-quic"] });

/** Opens the page, and fails the test for anything in the console, any dialog and any request to elsewhere. */
async function open(exporter, options = {}) {
  const context = await browser.newContext({ viewport: WIDE, ...options });
  const page = await context.newPage();
  const faults = [];
  page.on("console", (message) => faults.push(`console: ${message.text()}`));
  page.on("pageerror", (error) => faults.push(`error: ${error}`));
  page.on("dialog", (dialog) => faults.push(`dialog: ${dialog.message()}`) && dialog.dismiss());
  page.on("request", (request) => request.url().startsWith(exporter.url) || faults.push(`request: ${request.url()}`));
  await page.goto(exporter.url);
  return {
    page,
    picture: (name, full = true) => page.screenshot({ path: `${PICTURES}/${name}.png`, fullPage: full }),
    async close() {
      assert.deepEqual(faults, []);
      await context.close();
    },
  };
}

/** Nothing is wider than the screen. */
async function assertFits(page) {
  const [content, screen] = await page.evaluate(() => [document.documentElement.scrollWidth, innerWidth]);
  assert.ok(content <= screen, `the page is ${content} wide, the screen ${screen}`);
}

async function assertAccessible(page) {
  // Evaluated by the test, so that the page's policy need not allow it.
  await page.evaluate(axe);
  const { violations, passes } = await page.evaluate(() => window.axe.run({ rules: { "target-size": { enabled: true } } }));
  assert.ok(passes.length > 10, "it has looked");
  const found = violations.map(({ id, nodes }) => `${id}: ${nodes.slice(0, 3).map((node) => node.html + node.failureSummary).join("\n")}`);
  assert.deepEqual(found, []);
}

/** As a screen reader sees a table: the name, the heads, and how many rows it has. */
async function assertTable(page, name, rows) {
  const table = page.getByRole("table", { name });
  assert.equal(await table.count(), 1, name);
  assert.equal(await table.getByRole("row").count(), rows + 1, name);
  assert.equal(await table.getByRole("rowheader").count(), rows, name);
  assert.ok((await table.getByRole("columnheader").count()) >= 5, name);
}

const tests = {
  async "the demo, in both schemes, on every screen"() {
    const exporter = await (await keep(Exporter.demo())).polled();
    for (const colorScheme of ["light", "dark"]) {
      for (const [size, viewport] of SCREENS) {
        const { page, picture, close } = await open(exporter, { colorScheme, viewport });
        await picture(`demo-${colorScheme}-${size}`);
        assert.match(await page.getByRole("heading", { level: 1 }).innerText(), /^8 client certificates are refused\.$/);
        assert.ok(await page.getByText("Act now").isVisible());
        // What matters most is seen without scrolling.
        const { y, height } = await page.locator(size === "small" ? "h1" : ".next").first().boundingBox();
        assert.ok(y + height < viewport.height, "the sentence is on the first screen");
        await assertFits(page);
        // Every timeline has room, and all of them line up.
        const lines = await page.$$eval("section > table .t", (lines) => lines.map((line) => line.getBoundingClientRect()).map(({ left, width }) => [left, width]));
        assert.ok(lines[0][1] >= 200, `a timeline is ${lines[0][1]} wide`);
        for (const line of lines) assert.deepEqual(line.map(Math.round), lines[0].map(Math.round));
        await assertTable(page, /^Scopes/, 12);
        await assertTable(page, /^Clients/, 17);
        await assertTable(page, /^Active certificates/, 26);
        await assertTable(page, /^Inactive certificates uploaded/, 2);
        await page.getByText("20 expired").click();
        await assertTable(page, /^Inactive certificates that have expired/, 20);
        await assertAccessible(page);
        await close();
      }
    }
  },

  async "hostile names stay in their places"() {
    const projects = HOSTILE.map((name, n) => ({ id: `proj_${n}`, name, certificates: [certificate(`p${n}`, 50 + n, { name })] }));
    const certificates = HOSTILE.map((name, n) => certificate(`cert_${n}${"<b>&\"'".repeat(40)}`, n * 20 - 30, { name }));
    const exporter = await (await keep(Exporter.of(await keep(Upstream.start({ certificates, projects }))))).polled();
    for (const [size, viewport] of [["wide", WIDE], ["small", SMALL]]) {
      const { page, picture, close } = await open(exporter, { viewport });
      await picture(`hostile-${size}`);
      await assertFits(page);
      await assertTable(page, /^Scopes/, HOSTILE.length + 1);
      await assertTable(page, /^Active certificates/, 2 * HOSTILE.length);
      // Each name leads to its own row, whatever it is.
      const astray = await page.$$eval('main a[href^="#"]', (links) => links.filter(({ hash }) => !document.getElementById(decodeURIComponent(hash.slice(1)))).length);
      assert.equal(astray, 0);
      assert.equal(await page.locator("script").count(), 1);
      assert.equal(await page.locator("img").count(), 0);
      // No name reaches into the next row.
      const overlaps = await page.$$eval("tbody tr", (rows) =>
        rows.filter((row) => [...row.querySelectorAll("bdi")].some((name) => {
          const [inner, outer] = [name.getBoundingClientRect(), row.getBoundingClientRect()];
          return inner.bottom > outer.bottom + 1 || inner.right > outer.right + 1;
        })).length);
      assert.equal(overlaps, 0);
      await assertAccessible(page);
      await close();
    }
  },

  async "an empty organization"() {
    const exporter = await (await keep(Exporter.of(await keep(Upstream.start())))).polled();
    const { page, picture, close } = await open(exporter);
    await picture("empty");
    assert.equal(await page.getByRole("heading", { level: 1 }).innerText(), "Mutual TLS is not enforced at the organization: no certificate is active there.");
    await assertTable(page, /^Scopes/, 1);
    await assertAccessible(page);
    await close();
  },

  async "before the first poll has ended"() {
    const exporter = await keep(Exporter.of(await keep(Upstream.start({ answers: false }))));
    const { page, picture, close } = await open(exporter);
    await picture("waiting");
    assert.equal(await page.getByRole("heading", { level: 1 }).innerText(), "Waiting for the first poll to end.");
    assert.ok(await page.getByText("under way").isVisible());
    await assertAccessible(page);
    await close();
  },

  async "stale data says so loudly, and recovers without a reload"() {
    const upstream = await keep(Upstream.start({ certificates: [certificate("edge-2026", 200), certificate("mesh-2026", 300)] }));
    const exporter = await (await keep(Exporter.of(upstream, "500ms"))).polled();
    const { page, picture, close } = await open(exporter);
    assert.equal(await page.getByText("Stale").count(), 0);
    upstream.status = 503;
    await page.locator(".caveats").getByText("Stale: what is shown is").waitFor();
    await picture("stale");
    assert.ok(await page.getByText("The last poll failed").first().isVisible());
    assert.match(await page.title(), /stale|when last seen/);
    await assertTable(page, /^Active certificates/, 2);
    await assertAccessible(page);
    upstream.certificates = [certificate("edge-2026", 200), certificate("mesh-2026", 300), certificate("new-2027", 2)];
    upstream.status = 200;
    await page.getByText("new-2027").first().waitFor();
    await page.locator(".caveats").getByText("Stale").waitFor({ state: "detached" });
    await assertTable(page, /^Active certificates/, 3);
    await close();
  },

  async "the script keeps the reader's place"() {
    const others = Array.from({ length: 60 }, (_, n) => certificate(`cert_${n}`, 100 + n));
    const upstream = await keep(Upstream.start({ certificates: others }));
    const exporter = await (await keep(Exporter.of(upstream, "500ms"))).polled();
    for (const viewport of [WIDE, SMALL]) {
      upstream.certificates = others;
      const context = await browser.newContext({ viewport });
      const page = await context.newPage();
      await page.goto(exporter.url);
      await page.evaluate(() => (window.mark = document.querySelector("main")));
      const top = (id) => page.evaluate((id) => document.getElementById(id).getBoundingClientRect().top, id);
      const assertStays = async (id, change) => {
        const before = await top(id);
        await change();
        const after = await top(id);
        assert.ok(Math.abs(after - before) < 1.5, `${id} moved from ${before} to ${after}`);
      };
      const refreshed = async () => {
        const made = await page.locator(".made time").innerText();
        await page.waitForFunction((made) => document.querySelector(".made time").innerText !== made, made);
      };
      // One reads in the middle of the table while rows come in above.
      await page.evaluate(() => document.getElementById("cert_30").scrollIntoView({ block: "center" }));
      await assertStays("cert_30", refreshed);
      await assertStays("cert_30", async () => {
        upstream.certificates = [...[..."abcdef"].map((id, n) => certificate(`cert_${id}`, 50 + n)), ...others];
        await page.locator("#cert_f").waitFor();
      });
      // The headline and what is to be done grow by some lines.
      await assertStays("cert_30", async () => {
        upstream.certificates = [certificate("cert_soon", 3, { name: "a name that is much longer than usual ".repeat(4) }), ...upstream.certificates];
        await page.locator("tr#cert_soon").waitFor();
      });
      // The row in focus moves to another place, and those around it stay behind.
      await page.locator("#cert_30").getByRole("link").focus();
      await assertStays("cert_30", async () => {
        upstream.certificates = upstream.certificates.map((other) => (other.id === "cert_30" ? certificate("cert_30", 2) : other));
        await page.locator("tr#cert_30.critical").waitFor();
      });
      assert.ok(await page.locator("#cert_30").getByRole("link").evaluate((link) => link === document.activeElement));
      await page.evaluate(() => document.activeElement.blur());
      // One row that moves does not take the reader along.
      await page.evaluate(() => document.getElementById("cert_40").scrollIntoView({ block: "start" }));
      await assertStays("cert_42", async () => {
        upstream.certificates = upstream.certificates.map((other) => (other.id === "cert_40" ? certificate("cert_40", 2) : other));
        await page.locator("tr#cert_40.critical").waitFor();
      });
      // A banner comes and goes.
      await assertStays("cert_42", async () => {
        await context.route("**", (route) => route.abort());
        await page.locator(".lost").waitFor();
      });
      await assertStays("cert_42", async () => {
        await context.unroute("**");
        await page.locator(".lost").waitFor({ state: "hidden" });
      });
      // At the very top the headline stays in sight.
      await page.evaluate(() => scrollTo(0, 0));
      upstream.certificates = others;
      await page.locator("tr#cert_soon").waitFor({ state: "detached" });
      assert.equal(await page.evaluate(() => scrollY), 0);
      assert.ok(await page.evaluate(() => window.mark === document.querySelector("main")), "it was not loaded anew");
      await context.close();
    }
  },

  async "a page that nobody answers says so wherever one looks, and recovers by itself"() {
    const others = Array.from({ length: 40 }, (_, n) => certificate(`c${n}`, 100 + n));
    const upstream = await keep(Upstream.start({ certificates: others }));
    const exporter = await (await keep(Exporter.of(upstream, "500ms"))).polled();
    const said = (page) => page.locator(".said").innerText();
    for (const [name, options] of Object.entries(LOOKS)) {
      const context = await browser.newContext({ viewport: WIDE, ...options });
      const page = await context.newPage();
      await page.goto(exporter.url);
      const title = await page.title();
      const made = await page.locator(".made time").innerText();
      await page.waitForFunction((made) => document.querySelector(".made time").innerText !== made, made);
      assert.equal(await said(page), "", "a refresh is not worth a word");
      assert.ok(await page.locator(".lost").isHidden());
      const color = () => page.locator("h1").evaluate((h1) => getComputedStyle(h1).color);
      const before = await color();
      await page.evaluate(() => scrollTo(0, document.body.scrollHeight));

      await context.route("**", (route) => route.abort());
      await page.locator(".lost").waitFor();
      assert.match(await page.locator(".lost").innerText(), /^The exporter does not answer; no update since \d\d:\d\d:\d\d UTC \(\d+ seconds?\)/);
      assert.match(await page.title(), /^No update since \d\d:\d\d UTC · Healthy/);
      assert.match(await said(page), /^The exporter does not answer/);
      const { y, height } = await page.locator(".lost").boundingBox();
      assert.ok(y >= 0 && y < 20, "it stays in sight");
      assert.ok(height <= 0.4 * page.viewportSize().height, "and leaves room");
      assert.notEqual(await color(), before);
      // What was a time ago no longer is; the rest still is what was last shown.
      const facts = await page.$$eval(".polls b", (facts) => facts.map((fact) => [getComputedStyle(fact).visibility, fact.textContent]));
      assert.match(String(facts.filter(([visibility]) => visibility === "visible").map(([, text]) => text)), /^none,(under way,)?40 certificates$/);
      await context.unroute("**");
      // The icon comes from the cache.
      assert.equal(await page.locator("link[rel=icon]").getAttribute("href"), "lost.svg");
      await page.screenshot({ path: `${PICTURES}/lost-${name}.png` });
      await assertAccessible(page);

      await page.locator(".lost").waitFor({ state: "hidden" });
      assert.equal(await page.title(), title);
      assert.equal(await page.locator("link[rel=icon]").getAttribute("href"), "status.svg");
      assert.equal(await color(), before);
      assert.equal(await said(page), "The exporter answers again.");
      upstream.certificates = [certificate("edge-2026", 3), ...others];
      await page.waitForFunction(() => document.querySelector(".said").textContent.startsWith("Act now. edge-2026 expires in "));
      upstream.certificates = others;
      await page.getByText("Healthy").first().waitFor();
      await context.close();
    }
  },

  async "the icon of a page that nobody answers is there when nobody answers"() {
    const exporter = await (await keep(Exporter.demo())).polled();
    const { page, close } = await open(exporter);
    await page.waitForLoadState("networkidle");
    await exporter.stop();
    await page.evaluate(() => Object.assign(new Image(), { src: "lost.svg" }).decode());
    await close();
  },

  async "rows are found, and the address keeps what was asked"() {
    const exporter = await (await keep(Exporter.demo())).polled();
    for (const [size, viewport] of [["wide", WIDE], ["small", SMALL]]) {
      const { page, picture, close } = await open(exporter, { viewport });
      const visible = () => page.locator("tbody tr:visible").count();
      const unknown = await page.evaluate(() => [...document.querySelectorAll("tbody tr")].flatMap(states).filter((name) => name && ![...form.elements.state.options].some(({ value }) => value === name)));
      assert.deepEqual(unknown, []);
      await page.getByLabel("Find").fill("EDGE- 2025");
      await page.getByText("9 of 77 rows").waitFor();
      await page.waitForURL(/\?q=EDGE-\+2025$/);
      assert.equal(await visible(), 9);
      await page.getByLabel("Severity").selectOption("off");
      await page.getByText("no row matches").waitFor();
      assert.equal(await page.getByRole("heading", { level: 2 }).count(), 0);
      await assertAccessible(page);
      await picture(`filter-none-${size}`, false);
      await page.getByRole("button", { name: "Clear" }).click();
      await page.waitForURL(exporter.url);
      assert.equal(await visible(), 57);
      for (const [state, scope, rows] of [["Expired", "", 2], ["Inactive, expired", "", 20], ["Inactive", "", 22], ["Active", "", 26], ["Superseded", "organization", 1], ["Refused", "organization", 8], ["", "project", 34], ["Not yet valid", "", 1]]) {
        await page.getByLabel("State").selectOption(state);
        await page.getByRole("combobox", { name: "Scope" }).selectOption(scope);
        await page.getByText(`${rows} of 77 rows`, { exact: true }).waitFor();
        assert.equal(await visible(), rows, state);
      }
      // Whoever is sent the address sees the same, also after the page was fetched again.
      await page.getByLabel("Find").fill("inference gen");
      await page.getByLabel("State").selectOption("Superseded");
      await page.getByText("6 of 77 rows").waitFor();
      await page.waitForURL(/\?q=inference\+gen&state=Superseded$/);
      await page.reload();
      assert.equal(await visible(), 6);
      await page.evaluate(() => refresh());
      await page.evaluate(() => show(new DOMParser().parseFromString("<title>x</title><p class=made><time></time>" + document.querySelector("main").outerHTML, "text/html")));
      assert.equal(await visible(), 6);
      assert.equal(await page.getByLabel("State").inputValue(), "Superseded");
      await assertFits(page);
      await picture(`filter-${size}`);
      await close();
      const broken = await open(exporter, { viewport });
      await broken.page.goto(`${exporter.url}?length=1&severity=x&state=Nowhere&item=%00#%`);
      assert.equal(broken.page.url(), `${exporter.url}#%`);
      assert.equal(await broken.page.getByRole("option", { name: "Nowhere" }).count(), 0);
      assert.equal(await broken.page.locator("output").innerText(), "");
      for (const name of ["Severity", "State"]) assert.equal(await broken.page.getByLabel(name).evaluate(({ selectedIndex }) => selectedIndex), 0);
      // A state that no row has at the moment is not forgotten: the row was renewed.
      await broken.page.goto(`${exporter.url}?state=Never+valid`);
      assert.equal(await broken.page.getByText("no row matches").count(), 1);
      assert.equal(await broken.page.getByLabel("State").inputValue(), "Never valid");
      await broken.close();
    }
  },

  async "a filter hides the sections in which it finds nothing"() {
    // More than are shown.
    const certificates = Array.from({ length: 1_001 }, (_, n) => certificate(`cert_${n}`, 100 + n, { active: n > 0 }));
    const many = await (await keep(Exporter.of(await keep(Upstream.start({ certificates }))))).polled();
    const demo = await (await keep(Exporter.demo())).polled();
    for (const [exporter, address, headings] of [
      [demo, "", ["Scopes", "Clients", "Active certificates", "Inactive certificates"]],
      [demo, "?scope=project&state=Superseded", ["Active certificates"]],
      [demo, "?state=Inactive,+expired", ["Inactive certificates"]],
      [demo, "?state=Refused&scope=organization#active", ["Clients", "Active certificates"]],
      // What neither the page nor the filter has is still mentioned.
      [many, "?q=nothing", ["Inactive certificates"]],
    ]) {
      const { page, close } = await open(exporter);
      await page.goto(exporter.url + address);
      const shown = await page.getByRole("heading", { level: 2 }).allInnerTexts();
      assert.deepEqual(shown.map((text) => text.replace(/ (?:the organization and|whether|before you|uploaded, but)[^]*/, "")), headings, address);
      await close();
    }
  },

  async "the list of states has those that rows have, and the one that was asked for"() {
    const exporter = await (await keep(Exporter.of(await keep(Upstream.start({ certificates: [certificate("edge-2026", 200)] }))))).polled();
    const { page, close } = await open(exporter);
    const states = page.getByLabel("State");
    const offered = () => states.locator("option").allTextContents();
    assert.deepEqual(await offered(), ["any", "Active", "Covered", "Valid"]);
    await page.goto(`${exporter.url}?state=Never+valid`);
    assert.deepEqual(await offered(), ["any", "Active", "Never valid", "Covered", "Valid"]);
    assert.equal(await states.inputValue(), "Never valid");
    await states.selectOption("Valid");
    assert.deepEqual(await offered(), ["any", "Active", "Covered", "Valid"]);
    assert.equal(await states.inputValue(), "Valid");
    await page.goBack();
    assert.equal(await states.inputValue(), "Never valid");
    await page.getByRole("button", { name: "Clear" }).click();
    await page.waitForURL(exporter.url);
    assert.deepEqual(await offered(), ["any", "Active", "Covered", "Valid"]);
    assert.equal(await states.inputValue(), "");
    await close();
  },

  async "an address that leads to no row says so once"() {
    const upstream = await keep(Upstream.start({ certificates: [certificate("cert_a", 300), certificate("cert_b", 200)] }));
    const exporter = await (await keep(Exporter.of(upstream, "500ms"))).polled();
    const { page, picture, close } = await open(exporter, { viewport: SMALL });
    const note = page.locator(".filter").getByText("is not shown here");
    for (const address of ["#cert_b", "#active", "#organization", "#"]) {
      await page.goto(exporter.url + address);
      assert.equal(await note.count(), 0, address);
    }
    await page.goto(`${exporter.url}#cert_b`);
    await page.evaluate(() => {
      window.notes = [];
      const listen = () => said().includes("not shown") && notes.push(said());
      const said = () => document.querySelector(".said").textContent;
      new MutationObserver(listen).observe(document.querySelector(".said"), { childList: true });
    });
    upstream.certificates = [certificate("cert_a", 300)];
    await note.waitFor();
    assert.equal(await note.innerText(), "cert_b is not shown here");
    await page.waitForFunction(() => notes.length);
    const other = `cert_${"0123456789abcdef".repeat(4)}`;
    await page.evaluate(async () => show(await fetchPage()));
    await page.goto(`${exporter.url}#${other}`);
    await page.waitForFunction(() => notes.length > 1);
    assert.deepEqual(await page.evaluate(() => notes), ["cert_b is not shown here", `${other} is not shown here`], "once each");
    await assertFits(page);
    await assertAccessible(page);
    await picture("not-shown", false);
    upstream.certificates = [certificate("cert_a", 300), certificate("cert_b", 200)];
    await page.goto(`${exporter.url}#cert_b`);
    await page.locator("tr#cert_b").waitFor();
    await note.waitFor({ state: "detached" });
    await close();
  },

  async "on a small screen a command is not broken, and nothing is said of an end that there is not"() {
    const projects = [{ id: "proj_a", name: "a", certificates: [] }];
    const exporter = await (await keep(Exporter.of(await keep(Upstream.start({ projects, certificates: [certificate("cert_a", 0, { active: false })] }))))).polled();
    const { page, close } = await open(exporter, { viewport: SMALL });
    const lines = await page.getByText("check --without ID").evaluate((code) => code.getClientRects().length);
    assert.equal(lines, 1);
    const cells = page.locator("#scopes + table td.e");
    assert.deepEqual(await cells.allTextContents(), ["–", "–"]);
    assert.equal(await page.locator("#scopes + table td.e:visible").count(), 0);
    assert.equal(await page.locator("#expired td.e time").count(), 1);
    await assertFits(page);
    await close();
  },

  async "the history has an entry for each filter that was set"() {
    const exporter = await (await keep(Exporter.demo())).polled();
    const { page, close } = await open(exporter);
    const [found, severity, state] = ["Find", "Severity", "State"].map((name) => page.getByLabel(name));
    const assertAsks = async (query, rows) => {
      await page.waitForURL(exporter.url + query);
      await page.waitForFunction((rows) => [...document.querySelectorAll("tbody tr")].filter((row) => !row.hidden).length === rows, rows);
      const asked = new URLSearchParams(query);
      assert.equal(await found.inputValue(), asked.get("q") ?? "");
      assert.equal(await severity.inputValue(), asked.get("severity") ?? "");
      assert.equal(await state.inputValue(), asked.get("state") ?? "");
    };
    await found.pressSequentially("edge", { delay: 120 });
    await found.press("Tab");
    await assertAsks("?q=edge", 14);
    await severity.selectOption("critical");
    await state.selectOption("Refused");
    await assertAsks("?q=edge&severity=critical&state=Refused", 5);
    await page.getByRole("button", { name: "Clear" }).click();
    await assertAsks("", 77);
    for (const [query, rows] of [["?q=edge&severity=critical&state=Refused", 5], ["?q=edge&severity=critical", 10], ["?q=edge", 14], ["", 77]]) {
      await page.goBack();
      await assertAsks(query, rows);
    }
    await page.goForward();
    await assertAsks("?q=edge", 14);
    // A link within the page is an entry as well, and leaves the filter alone.
    const id = await page.locator("h1 a").first().evaluate((link) => link.hash);
    await page.locator("h1 a").first().click();
    await page.waitForURL(`${exporter.url}?q=edge${id}`);
    await page.goBack();
    await assertAsks("?q=edge", 14);
    await close();
  },

  async "return leads from a name to its row, not to one that mentions it"() {
    const exporter = await (await keep(Exporter.demo())).polled();
    for (const viewport of [WIDE, SMALL]) {
      const { page, close } = await open(exporter, { viewport });
      // Other rows mention the one, and have the words of the other in name and identifier together.
      const regions = ["us-west-2", "ap-south-1", "eu-central-1", "us-east-1"].map((region) => `inference-clients-${region} gen 5`);
      for (const name of ["ci-runners-2025", ...regions]) {
        await page.getByLabel("Find").fill(name.toUpperCase());
        await page.getByLabel("Find").press("Enter");
        const row = page.locator("tr:target");
        await row.filter({ has: page.getByText(name, { exact: true }) }).first().waitFor();
        assert.ok((await row.getByRole("rowheader").innerText()).startsWith(`${name}\n`), name);
        const { y, height } = await row.boundingBox();
        assert.ok(y >= 0 && y + height <= viewport.height, "it is in sight");
        assert.equal(new URL(page.url()).searchParams.get("q"), name.toUpperCase());
      }
      await close();
    }
  },

  async "names lead to their rows, and identifiers can be copied"() {
    const exporter = await (await keep(Exporter.demo())).polled();
    const { page, picture, close } = await open(exporter, { timezoneId: "Asia/Kolkata", permissions: ["clipboard-read"] });
    const [name, id] = await page.locator(".findings a[href^='#cert_']").first().evaluate((link) => [link.textContent, link.hash.slice(1)]);
    await page.getByLabel("Find").fill("Ledger");
    await page.locator(`tr[id="${id}"]`).waitFor({ state: "hidden" });
    await page.locator(".findings").getByRole("link", { name }).click();
    const row = page.locator("tr:target");
    assert.ok(await row.isVisible(), "also if the filter hides it");
    assert.ok(page.url().endsWith(`?q=Ledger#${id}`));
    const { y } = await row.boundingBox();
    assert.ok(y > 0 && y < WIDE.height);
    await row.getByRole("button", { name: `Copy ${id}` }).click();
    assert.equal(await page.evaluate(() => navigator.clipboard.readText()), id);
    // Local time, where the focus is and where the pointer is.
    const [utc, local] = await row.locator("time").evaluate((time) => [time.textContent, time.title]);
    assert.equal(Date.parse(utc.replace(" ", "T")) + 5.5 * 3_600_000, Date.parse(`${local.slice(0, 19).replace(" ", "T")}Z`));
    assert.match(local, / local time$/);
    await picture("focused", false);
    await page.getByRole("button", { name: "Clear" }).click();
    const other = page.locator("#active + table time").first();
    await other.hover();
    assert.match(await other.getAttribute("title"), / local time$/);
    // An expired one is folded away until the address leads to it.
    const expired = await page.locator("details tr[id]").first().getAttribute("id");
    await page.goto(`${exporter.url}#${expired}`);
    assert.ok(await page.locator("tr:target").isVisible());
    await close();
  },

  async "the keyboard reaches every instant, in local time"() {
    // The certificate with which the organization's coverage ends is not shown, so that nothing in its row is a link.
    const certificates = Array.from({ length: 1_001 }, (_, n) => certificate(`cert_${n}`, 100 + n));
    const projects = [{ id: "proj_a", name: "a", certificates: [] }];
    const many = await (await keep(Exporter.of(await keep(Upstream.start({ certificates, projects }))))).polled();
    for (const exporter of [many, await (await keep(Exporter.demo())).polled()]) {
      const { page, close } = await open(exporter);
      const missed = await page.evaluate(() => {
        for (const details of document.querySelectorAll("details")) details.open = true;
        const isShown = (time) => getComputedStyle(time, "::after").content.includes(" local time");
        return [...document.querySelectorAll("main time")].filter((time) => {
          const nearest = time.closest("tr")?.querySelector("a, button") ?? time;
          nearest.focus({ focusVisible: true });
          return !isShown(time);
        }).map((time) => (time.closest("tr") ?? time).textContent).slice(0, 3);
      });
      assert.deepEqual(missed, []);
      await close();
    }
  },

  async "on paper it is a page or two"() {
    const certificates = Array.from({ length: 1_000 }, (_, n) => certificate(`cert_${n}`, n - 20));
    const thousand = await (await keep(Exporter.of(await keep(Upstream.start({ certificates }))))).polled();
    for (const [name, exporter] of [["demo", await (await keep(Exporter.demo())).polled()], ["thousand", thousand]]) {
      for (const colorScheme of ["light", "dark"]) {
        const { page, close } = await open(exporter, { colorScheme });
        const paper = await page.pdf({ path: `${PICTURES}/${name}-${colorScheme}.pdf`, format: "A4" });
        const pages = paper.toString("latin1").match(/\/Type\s*\/Page\b/g).length;
        assert.ok(pages <= 2, `${name} has ${pages} pages`);
        await close();
      }
    }
  },

  async "on paper no row that needs action is missing, and it says how many others are"() {
    const of = async (soon, well, other = []) => {
      const certificates = [...Array(soon + well).keys()].map((n) => certificate(`cert_${n}`, n < soon ? n + 1 : 100 + n)).concat(other);
      return (await keep(Exporter.of(await keep(Upstream.start({ certificates }))))).polled();
    };
    const now = Math.floor(Date.now() / 1000);
    const later = certificate("cert_later", 900, { certificate_details: { valid_at: now + 86_400, expires_at: now + 900 * 86_400 } });
    for (const [exporter, q, printed, left] of [
      [await of(25, 30), "", 25, 30],
      [await of(5, 60), "", 20, 45],
      [await of(5, 60), "cert_6", 6, 0],
      [await of(0, 60), "cert", 20, 40],
      [await of(0, 20), "", 20, 0],
      [await of(3, 30, [later]), "", 21, 13],
    ]) {
      for (const javaScriptEnabled of q ? [true] : [true, false]) {
        const { page, close } = await open(exporter, { javaScriptEnabled });
        if (q) await page.goto(`${exporter.url}?q=${q}`);
        await page.emulateMedia({ media: "print" });
        const rows = page.locator("#active + table tbody tr:visible");
        assert.equal(await rows.count(), printed);
        const note = page.locator("#active ~ .cut");
        if (left) assert.equal(await note.innerText(), `Rows not printed, since none of them needs action: ${left}`);
        assert.equal(await note.isVisible(), left > 0);
        assert.equal(await page.locator("output").isVisible(), Boolean(q), "a filter is on paper too");
        await close();
      }
    }
  },

  async "on paper each row is there to which the headline and what to do lead"() {
    const others = Array.from({ length: 25 }, (_, n) => certificate(`mesh-${n}`, 100 + n, { active: false }));
    const edge = [certificate("edge-2026", 3), certificate("edge-2027", 60, { active: false })];
    const projects = Array.from({ length: 25 }, (_, n) => ({ id: `proj_${n}`, name: `p${n}`, certificates: [] }));
    const exporter = await (await keep(Exporter.of(await keep(Upstream.start({ certificates: [...edge, ...others], projects }))))).polled();
    for (const javaScriptEnabled of [true, false]) {
      const { page, close } = await open(exporter, { javaScriptEnabled });
      assert.match(await page.locator(".next").first().innerText(), /^Activate edge-2027 \(already uploaded\)/);
      await page.emulateMedia({ media: "print" });
      const ids = await page.locator(".hero a").evaluateAll((links) => links.map(({ hash }) => decodeURIComponent(hash.slice(1))));
      assert.ok(ids.includes("cert_edge-2027"), ids.join());
      for (const id of ids) assert.ok(await page.locator(`[id="${id}"]`).isVisible(), id);
      const rows = page.locator("#inactive + table tbody tr");
      assert.equal(await rows.nth(25).getAttribute("id"), "cert_edge-2027");
      assert.equal(await rows.filter({ visible: true }).count(), 21);
      assert.equal(await page.locator("#inactive ~ .cut").innerText(), "Rows not printed, since none of them needs action: 5");
      await close();
    }
  },

  async "without JavaScript it stands still and says since when"() {
    const exporter = await (await keep(Exporter.demo())).polled();
    const { page, picture, close } = await open(exporter, { javaScriptEnabled: false });
    await picture("no-script");
    assert.ok(await page.getByText("Without JavaScript this page does not refresh itself: it shows what was known at that time.").isVisible());
    assert.match(await page.locator(".made time").innerText(), /^\d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ$/);
    await assertTable(page, /^Active certificates/, 26);
    await close();
  },

  async "a thousand rows"() {
    const certificates = Array.from({ length: 1_000 }, (_, n) => certificate(`cert_${String(n).padStart(24, "0")}`, n - 20, { name: `workload-${n}-eu-central-1` }));
    const exporter = await (await keep(Exporter.of(await keep(Upstream.start({ certificates }))))).polled();
    const response = await fetch(exporter.url);
    const bytes = (await response.text()).length;
    assert.ok(bytes <= 1_000_000, `${bytes} bytes`);
    const compressed = Number(response.headers.get("content-length"));
    assert.equal(response.headers.get("content-encoding"), "gzip");
    assert.ok(compressed <= 50_000, `${compressed} bytes compressed`);
    for (const [size, viewport] of [["wide", WIDE], ["small", SMALL]]) {
      const { page, picture, close } = await open(exporter, { viewport });
      await assertTable(page, /^Active certificates/, 1_000);
      await assertFits(page);
      const painted = await page.evaluate(() => performance.getEntriesByName("first-contentful-paint")[0]?.startTime);
      console.log(`  ${size}: ${bytes} bytes, first paint after ${Math.round(painted)} ms`);
      await picture(`thousand-${size}`, false);
      await close();
    }
  },

  async "the keyboard reaches every link, and shows where it is"() {
    const exporter = await (await keep(Exporter.demo())).polled();
    const { page, close } = await open(exporter);
    await page.locator("table").first().waitFor();
    const selector = "a:visible, button:visible, input, select, summary, time[tabindex]";
    const links = await page.locator(selector).count();
    const reached = [];
    for (let n = 0; n < links; n += 1) {
      await page.keyboard.press("Tab");
      reached.push(await page.evaluate(() => {
        const { tagName, textContent } = document.activeElement;
        return getComputedStyle(document.activeElement).outlineStyle !== "none" && (tagName === "A" ? textContent : tagName);
      }));
    }
    assert.ok(!reached.includes(false), reached.join());
    assert.deepEqual(reached.slice(0, 4), ["Metrics", "JSON", "OpenAPI", "8 client certificates"]);
    assert.deepEqual(reached.slice(-3), ["Health", "readiness", "polls as JSON"]);
    assert.equal(new Set(reached).has("BODY"), false);
    await close();
  },
};

if (process.argv.includes("--picture")) {
  const exporter = await (await keep(Exporter.demo())).polled();
  const context = await browser.newContext({ viewport: { width: 1280, height: 900 }, colorScheme: "light" });
  const page = await context.newPage();
  await page.goto(exporter.url);
  await page.screenshot({ path: "tests/browser/status.png" });
  await context.close();
}

let [failed, passed] = [0, 0];
// Words pick the tests whose names have them.
const words = process.argv.slice(2).filter((word) => !word.startsWith("--"));
for (const [name, test] of Object.entries(tests)) {
  if (!words.every((word) => name.includes(word))) continue;
  try {
    await test();
    passed += 1;
    console.log(`ok: ${name}`);
  } catch (error) {
    failed += 1;
    console.log(`FAILED: ${name}\n${error.stack}`);
  } finally {
    for (const thing of running.splice(0)) await thing.stop();
  }
}
await browser.close();
console.log(`${passed} of ${passed + failed} passed; pictures are in ${PICTURES}`);
process.exit(failed ? 1 : 0);

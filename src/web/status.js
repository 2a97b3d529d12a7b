// Keeps the page up to date without flicker and without losing the reader's place, filters its rows, and says when nobody
// answers. Whatever the script adds to the page it also adds to a fetched one before the two are compared, so that only what
// has changed is replaced.
"use strict";

const SECOND = 1000;
// However seldom the page is fetched, it notices within this time that nobody answers.
const PROBE_SECONDS = 5;
// Identifiers of what the reader has unfolded.
const UNFOLDED = new Set();

const form = document.querySelector("form");
const find = (selector) => document.querySelector(selector);
// The one live region: a page that is fetched every few seconds must not speak each time.
const say = (text) => (find(".said").textContent = text);

// --- Find rows -------------------------------------------------------------------------------------------------------

/** The identifier of the row or section that the address leads to. */
function target() {
  const id = location.hash.slice(1);
  try { return decodeURIComponent(id); } catch { return id; }
}

/** The states under which the filter finds a row: its own, part by part, and the one that its table gives to all rows. */
function states(row) {
  const state = row.cells[0].textContent;
  // "Expired" asks for those that are still active somewhere.
  if (state.startsWith("Inactive")) return ["Inactive", state];
  const parts = state.split(", ").map((part) => part[0].toUpperCase() + part.slice(1));
  return [row.closest("table").dataset.state, ...parts];
}

// Every one that a row can have.
const STATES = [...form.elements.state.options];

/** Offers the states that rows have, and the one asked for. Some browsers would list hidden options. */
function offerStates(list, rows) {
  const { value } = list;
  const offered = new Set(["", value, ...rows.flatMap(states)]);
  const options = STATES.filter((option) => offered.has(option.value));
  // A list that is open stays so.
  if (options.length === list.length && options.every((option, index) => option === list[index])) return;
  list.replaceChildren(...options);
  list.value = value;
}

/** Says once that there is no row of the certificate or project that the address leads to. */
function noteMissing(rows, wanted) {
  const isMissing = rows.length && /^(cert|proj)_[\w-]+$/.test(wanted) && !rows.some(({ id }) => id === wanted);
  const [note, text] = [form.querySelector(".missing"), isMissing ? `${wanted} is not shown here` : ""];
  // Later, since a page that was just loaded is not listened to, and what a refresh has to say comes first.
  if (text && note.textContent !== text) setTimeout(say, SECOND, text);
  note.textContent = text;
}

/** Hides the rows that the form does not ask for, except the one that the address leads to. */
function filter(main) {
  const { q, severity, scope, state } = Object.fromEntries(new FormData(form));
  const words = q.toLowerCase().split(/\s+/).filter(Boolean);
  const isFiltered = Boolean(words.length || severity || scope || state);
  const wanted = target();
  const rows = [...main.querySelectorAll("tbody tr")];
  offerStates(form.elements.state, rows);
  noteMissing(rows, wanted);
  for (const row of rows) {
    const text = words.length ? row.textContent.toLowerCase() : "";
    const isFound =
      words.every((word) => text.includes(word)) &&
      (!severity || row.classList.contains(severity)) &&
      (!scope || (row.dataset.at ?? "").split(" ").includes(scope)) &&
      (!state || states(row).includes(state));
    row.hidden = !isFound && row.id !== wanted;
  }
  for (const table of main.querySelectorAll("table")) {
    table.hidden = !table.querySelector("tbody tr:not([hidden])");
    const unprinted = table.querySelectorAll("tbody tr:nth-child(n + 21 of :not([hidden])):not(.warning, .critical, .named)").length;
    table.nextElementSibling.hidden = unprinted === 0;
    table.nextElementSibling.querySelector("b").textContent = unprinted;
  }
  for (const details of main.querySelectorAll("details")) {
    details.hidden = details.querySelector("table").hidden;
    const leadsHere = rows.some((row) => row.id === wanted && details.contains(row));
    details.open = isFiltered || leadsHere || UNFOLDED.has(details.id);
  }
  for (const section of main.querySelectorAll("div > section")) {
    // One that says that the filter does not find everything stays.
    const isEmpty = !section.querySelector("tbody tr:not([hidden]), .more");
    section.hidden = isFiltered && isEmpty && section.getAttribute("aria-labelledby") !== wanted;
  }
  const found = rows.filter((row) => !row.hidden).length;
  const result = found ? `${found} of ${rows.length} rows` : "no row matches";
  form.querySelector("output").textContent = isFiltered ? result : "";
}

/** Leads to the row with this name or identifier, or else to the first that has it in its own, or that is found at all. */
function leadToFound() {
  const rows = [...document.querySelectorAll("tbody tr:not([hidden])")];
  const asked = form.elements.q.value.trim().toLowerCase();
  const isOwn = (is) => (row) => [...row.querySelectorAll("th > bdi, th > code")].some((node) => is(node.textContent.toLowerCase()));
  if (!asked) return;
  const row = rows.find(isOwn((own) => own === asked)) ?? rows.find(isOwn((own) => own.includes(asked))) ?? rows[0];
  if (row) location.hash = row.id;
}

// Whether the current history entry belongs to the edit under way, which then replaces it.
let isUnderWay;
let typing;

/** Fills in the form from the address; values that are not offered are dropped from both. */
function recall() {
  const asked = new URLSearchParams(location.search);
  form.elements.state.replaceChildren(...STATES);
  for (const field of form.elements) {
    if (field.name) field.value = asked.get(field.name) ?? "";
    if (field.selectedIndex === -1) field.selectedIndex = 0;
  }
  isUnderWay = true;
  edit(true);
}

/** Keeps the form in the address, for a reload and for whoever is sent the link, with a history entry for each edit. */
function remember(isFinished) {
  const query = new URLSearchParams([...new FormData(form)].filter(([, value]) => value));
  const search = query.size ? `?${query}` : "";
  if (search !== location.search) {
    history[isUnderWay ? "replaceState" : "pushState"](null, "", location.pathname + search + location.hash);
    isUnderWay = true;
  }
  if (isFinished) isUnderWay = false;
}

function edit(isFinished) {
  clearTimeout(typing);
  filter(find("main"));
  remember(isFinished);
}

// --- Keep up to date -------------------------------------------------------------------------------------------------

/** Adds what only a script can offer. */
function dress(main) {
  main.querySelector("form").hidden = !main.querySelector("tbody tr");
  const button = find("template").content.firstElementChild;
  for (const id of main.querySelectorAll("th code")) {
    const copy = button.cloneNode(true);
    copy.setAttribute("aria-label", `Copy ${id.textContent}`);
    id.after(copy);
  }
  // Elsewhere an instant is shown in local time while a link or button of its row has the focus.
  for (const time of main.querySelectorAll("dd time, tr:not(:has(a, button)) time")) time.tabIndex = 0;
  filter(main);
}

/** Makes `shown` what `fetched` is, and replaces as little as it can. */
function adopt(shown, fetched) {
  if (shown.isEqualNode(fetched)) return shown;
  const same =
    shown.tagName &&
    shown.tagName === fetched.tagName &&
    (shown.tagName === "TBODY" || shown.childNodes.length === fetched.childNodes.length);
  if (!same) {
    const copy = document.importNode(fetched, true);
    shown.replaceWith(copy);
    return copy;
  }
  for (const { name } of [...shown.attributes]) if (!fetched.hasAttribute(name)) shown.removeAttribute(name);
  for (const { name, value } of fetched.attributes) if (shown.getAttribute(name) !== value) shown.setAttribute(name, value);
  if (shown.tagName === "TBODY") {
    adoptRows(shown, fetched);
  } else if (shown.tagName !== "FORM") {
    const children = [...fetched.childNodes];
    [...shown.childNodes].forEach((child, index) => adopt(child, children[index]));
  }
  return shown;
}

/** Rows come, go and change places, so they are matched by their identifiers. */
function adoptRows(shown, fetched) {
  const before = new Map([...shown.rows].map((row) => [row.id, row]));
  const rows = [...fetched.rows].map((row) => {
    const known = before.get(row.id);
    before.delete(row.id);
    return known ? adopt(known, row) : document.importNode(row, true);
  });
  if (rows.length !== shown.rows.length || rows.some((row, index) => row !== shown.rows[index])) {
    shown.replaceChildren(...rows);
  }
}

/** The state in words. */
const words = (main) =>
  [...main.querySelectorAll(".caveats strong, .badge, h1")].map((node) => node.textContent.replace(/\.?$/, ".")).join(" ");

/** What is announced when it changes: the state without its durations. */
const gist = (main) => words(main).replace(/\b\d+ (more )?(second|minute|hour|day)s?\b/g, "some time");

// What the reader may have in sight, and would lose if something above it grew.
const BLOCKS = "tbody tr, h2, form, .polls, .hero";

/** Makes a change and scrolls so that what is in sight keeps its place: the row in focus, or else most of the blocks. */
function inPlace(change) {
  const top = (block) => block.getBoundingClientRect().top;
  const isInSight = (block) => top(block) < innerHeight && block.getBoundingClientRect().bottom > 0;
  // At the very top it is the headline that must stay in sight, with any banner above it.
  const blocks = scrollY > 0 ? [...document.querySelectorAll(BLOCKS)].filter(isInSight) : [];
  const inFocus = blocks.find((block) => block.matches("tr") && block.contains(document.activeElement));
  const before = new Map(blocks.map((block) => [block, top(block)]));
  change();
  const kept = blocks.filter((block) => block.isConnected && block.getClientRects().length);
  const moved = (kept.includes(inFocus) ? [inFocus] : kept).map((block) => top(block) - before.get(block));
  // The median, so that a block that goes elsewhere does not take the reader along.
  if (moved.length) scrollBy(0, moved.sort((a, b) => a - b)[moved.length >> 1]);
}

function show(page) {
  const [shown, fetched] = [find("main"), page.querySelector("main")];
  if (shown.dataset.version !== fetched.dataset.version) return location.reload();
  dress(fetched);
  const [before, focused] = [gist(shown), document.activeElement];
  inPlace(() => {
    adopt(shown, fetched);
    if (focused.isConnected) focused.focus({ preventScroll: true });
  });
  showLocalTimes(document.activeElement);
  adopt(find(".made time"), page.querySelector(".made time"));
  title = document.title = page.title;
  if (gist(shown) !== before) say(words(shown));
}

let title = document.title;
let timer;
let shownAt = performance.now();
let answeredAt = shownAt;

const ask = (path, patience) => fetch(path, { cache: "no-store", signal: AbortSignal.timeout(patience * SECOND) });

async function fetchPage() {
  const response = await ask(location.pathname, 20);
  if (!response.ok) throw new Error(`answers with status ${response.status}`);
  const page = new DOMParser().parseFromString(await response.text(), "text/html");
  if (!page.querySelector("main[data-version]")) throw new Error("answers with another page");
  return page;
}

const seconds = () => Number(find("main").dataset.refresh) || 30;

/** Fetches the page if that is due, and otherwise only checks that somebody answers. */
async function refresh() {
  const isDue = isLost() || performance.now() - shownAt >= seconds() * SECOND - 100;
  let page;
  try {
    if (isDue || !(await ask("healthz", PROBE_SECONDS).catch(() => null))) page = await fetchPage();
    answeredAt = performance.now();
  } catch (error) {
    setLost(error.message.startsWith("answers") ? error.message : "does not answer");
  }
  schedule();
  if (page) {
    shownAt = answeredAt;
    setLost(null);
    show(page);
  }
}

function schedule() {
  clearTimeout(timer);
  timer = setTimeout(refresh, Math.min(PROBE_SECONDS, seconds()) * SECOND);
}

// --- Say when nobody answers -----------------------------------------------------------------------------------------

const isLost = () => document.documentElement.classList.contains("is-lost");

/** How long that is, in words: `90 seconds`, `3 hours`. */
function humanize(milliseconds) {
  const seconds = Math.floor(milliseconds / SECOND);
  const [length, unit] = [[86_400, "day"], [3_600, "hour"], [60, "minute"]].find(([length]) => seconds >= 2 * length) ?? [1, "second"];
  const count = Math.floor(seconds / length);
  return `${count} ${unit}${count === 1 ? "" : "s"}`;
}

function setLost(why) {
  const wasLost = isLost();
  document.documentElement.classList.toggle("is-lost", Boolean(why));
  find("link[rel=icon]").setAttribute("href", why ? "lost.svg" : "status.svg");
  if (why) {
    // By the exporter's clock: the reader's may be wrong.
    const since = new Date(Date.parse(find(".made time").textContent.replace(" ", "T")) + answeredAt - shownAt).toISOString();
    const passed = humanize(performance.now() - answeredAt);
    const [lead, rest] = ["strong", "span"].map((name) => document.createElement(name));
    lead.textContent = `The exporter ${why}; no update since ${since.slice(11, 19)} UTC (${passed}).`;
    rest.textContent = ` This page may be out of date.`;
    inPlace(() => {
      find(".lost").hidden = false;
      find(".lost span").replaceChildren(lead, rest);
    });
    document.title = `No update since ${since.slice(11, 16)} UTC · ${title}`;
    if (!wasLost) say(`The exporter ${why}. This page may be out of date.`);
  } else {
    inPlace(() => (find(".lost").hidden = true));
    document.title = title;
    if (wasLost) say("The exporter answers again.");
  }
}

// --- Local times, and identifiers to copy ----------------------------------------------------------------------------

const LOCAL = new Intl.DateTimeFormat("sv-SE", { dateStyle: "short", timeStyle: "medium" });

/** Gives the instants near the pointer or the focus their local time. */
function showLocalTimes(node) {
  for (const time of node?.closest?.("tr, dd, .made")?.querySelectorAll("time") ?? []) {
    const at = new Date(time.textContent.replace(" ", "T"));
    if (!Number.isNaN(at.valueOf())) time.title = `${LOCAL.format(at)} local time`;
  }
}

function copy(button) {
  getSelection().selectAllChildren(button.previousElementSibling);
  // Works without TLS too, where there is no `navigator.clipboard`.
  const isCopied = document.execCommand("copy");
  button.classList.toggle("done", isCopied);
  say(isCopied ? "Copied." : "Selected; copy it with the keyboard.");
}

// ---------------------------------------------------------------------------------------------------------------------

for (const event of ["pointerover", "focusin"]) document.addEventListener(event, ({ target }) => showLocalTimes(target));
document.addEventListener("click", ({ target }) => {
  const button = target.closest("button.copy");
  if (button) copy(button);
  const details = target.closest("summary")?.parentElement;
  if (details) UNFOLDED[details.open ? "delete" : "add"](details.id);
});
form.addEventListener("input", () => {
  clearTimeout(typing);
  typing = setTimeout(edit, 100, false);
});
form.addEventListener("change", () => edit(true));
// The event comes before the fields are emptied.
form.addEventListener("reset", () => setTimeout(edit, 0, true));
form.addEventListener("submit", (event) => {
  event.preventDefault();
  leadToFound();
});
addEventListener("popstate", recall);
addEventListener("hashchange", () => {
  filter(find("main"));
  document.getElementById(target())?.scrollIntoView();
});
// A page that comes back into view is refreshed at once.
document.addEventListener("visibilitychange", () => document.hidden || refresh());

dress(find("main"));
recall();
if (target()) document.getElementById(target())?.scrollIntoView();
// Cached for when nobody answers.
fetch("lost.svg").catch(() => {});
// The page says this without <noscript>, which would not be shown where the script is blocked.
find(".still").remove();
schedule();

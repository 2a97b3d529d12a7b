// The real binary, and an upstream for it that says whatever a test wants.
import { spawn } from "node:child_process";
import { createServer } from "node:http";

const BINARY = "target/debug/openai-cert-exporter";

export class Exporter {
  /** Starts the binary with these arguments and waits until it serves. */
  static async start(args, environment = {}) {
    const child = spawn(BINARY, [...args, "--web.listen-address=127.0.0.1:0"], {
      env: environment,
      stdio: ["ignore", "ignore", "pipe"],
    });
    let log = "";
    const url = await new Promise((resolve, reject) => {
      child.stderr.on("data", (bytes) => {
        log += bytes;
        const found = /serving \/metrics.* address=(\S+)/.exec(log);
        if (found) resolve(`http://${found[1]}/`);
      });
      child.on("exit", () => reject(new Error(`it ended at the start:\n${log}`)));
    });
    const exporter = new Exporter();
    Object.assign(exporter, { child, url });
    return exporter;
  }

  static demo() {
    return Exporter.start(["demo"]);
  }

  static of(upstream, interval = "1h") {
    return Exporter.start([], {
      OPENAI_ADMIN_KEY: "sk-admin-browser-test",
      OPENAI_BASE_URL: upstream.url,
      OPENAI_CERT_EXPORTER__API__MAX_RETRIES: "0",
      OPENAI_CERT_EXPORTER__POLL__INTERVAL: interval,
      // A list of projects that is empty is a warning.
      OPENAI_CERT_EXPORTER__POLL__PROJECTS: String(upstream.projects.length > 0),
    });
  }

  /** Waits until a poll has ended, whatever came of it; at most a minute. */
  async polled() {
    for (const end = Date.now() + 60_000; Date.now() < end; ) {
      const { polls } = await (await fetch(`${this.url}api/v1/polls`)).json();
      if (polls > 0) return this;
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    throw new Error("no poll has ended within a minute");
  }

  /** Ends it and waits, so that the demo removes its files. */
  async stop() {
    this.child.removeAllListeners("exit");
    if (this.child.exitCode !== null || this.child.signalCode !== null) return;
    const ended = new Promise((resolve) => this.child.once("exit", resolve));
    this.child.kill("SIGTERM");
    await ended;
  }
}

const DAY = 86_400;

export function certificate(id, endsInDays, other = {}) {
  const now = Math.floor(Date.now() / 1000);
  return {
    object: "organization.certificate",
    id,
    name: id,
    active: true,
    created_at: now - 100 * DAY,
    certificate_details: { valid_at: now - 100 * DAY, expires_at: now + Math.round(endsInDays * DAY) },
    ...other,
  };
}

export class Upstream {
  /** Answers with these lists: of certificates, and of projects with theirs. Both may be changed at any time. */
  static async start({ certificates = [], projects = [], answers = true } = {}) {
    const upstream = new Upstream();
    Object.assign(upstream, { certificates, projects, status: 200 });
    upstream.server = createServer((request, response) => {
      if (!answers) return;
      const { pathname, searchParams } = new URL(request.url, "http://upstream");
      const project = /projects\/([^/]+)\/certificates$/.exec(pathname);
      const list = project
        ? upstream.projects.find(({ id }) => id === decodeURIComponent(project[1])).certificates
        : pathname.endsWith("/projects")
          ? upstream.projects.map(({ id, name }) => ({ object: "organization.project", id, name, status: "active" }))
          : upstream.certificates;
      const start = searchParams.has("after") ? list.findIndex(({ id }) => id === searchParams.get("after")) + 1 : 0;
      const data = list.slice(start, start + 100);
      const more = start + data.length < list.length;
      response.writeHead(upstream.status, { "content-type": "application/json" });
      const page = { object: "list", data, first_id: data[0]?.id ?? null, last_id: data.at(-1)?.id ?? null, has_more: more };
      response.end(JSON.stringify(upstream.status === 200 ? page : { error: { message: "no" } }));
    });
    await new Promise((resolve) => upstream.server.listen(0, "127.0.0.1", resolve));
    upstream.url = `http://127.0.0.1:${upstream.server.address().port}/v1`;
    return upstream;
  }

  stop() {
    this.server.closeAllConnections();
    this.server.close();
  }
}

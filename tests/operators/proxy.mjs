// The proxies of `deploy/proxies`, run as they are: only addresses, ports and names of files that a
// test cannot have are replaced.

import { spawn } from "node:child_process";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { freePorts, retryingBusyPorts } from "../clients/support/server.mjs";
import { until } from "../clients/support/waiting.mjs";

const FILES = join(import.meta.dirname, "../../deploy/proxies");
const APACHE_MODULES = "/usr/lib/apache2/modules";

/** How each is started: `(file, dir, port)` to the command; `edit` moves it to `port`. */
const KINDS = {
  nginx: {
    file: "nginx.conf",
    edit: (text, port) => text.replace("listen 80;", `listen 127.0.0.1:${port};`),
    command: (file, dir) => ["nginx", "-p", dir, "-c", file, "-e", "stderr", "-g", `daemon off; pid ${dir}/pid;`],
  },
  haproxy: {
    file: "haproxy.cfg",
    edit: (text, port) => text.replace("bind :80", `bind 127.0.0.1:${port}`),
    command: (file) => ["haproxy", "-db", "-f", file],
  },
  "haproxy-tcp": {
    file: "haproxy-tcp.cfg",
    edit: (text, port) => text.replace("bind :443", `bind 127.0.0.1:${port}`),
    command: (file) => ["haproxy", "-db", "-f", file],
  },
  apache: {
    file: "apache.conf",
    // A virtual host and modules, of which the file says that it needs them.
    edit: (text, port, dir) => {
      const modules = "mpm_event authz_core proxy proxy_http proxy_balancer lbmethod_bybusyness slotmem_shm proxy_hcheck rewrite";
      const loads = modules.split(" ").map((name) => `LoadModule ${name}_module ${APACHE_MODULES}/mod_${name}.so\n`).join("");
      return `ServerName localhost\nServerRoot ${dir}\nPidFile ${dir}/pid\nErrorLog ${dir}/error.log\n${loads}Listen 127.0.0.1:${port}\n<VirtualHost *:${port}>\n${text}</VirtualHost>\n`;
    },
    command: (file) => ["apache2", "-D", "FOREGROUND", "-f", file],
  },
  caddy: {
    file: "Caddyfile",
    edit: (text, port) => `{\n\tadmin off\n}\n${text.replace(":80 {", `http://127.0.0.1:${port} {`)}`,
    command: (file) => ["caddy", "run", "--adapter", "caddyfile", "--config", file],
  },
  varnish: {
    file: "varnish.vcl",
    edit: (text) => text,
    command: (file, dir, port) => ["varnishd", "-F", "-j", "none", "-n", dir, "-a", `127.0.0.1:${port}`, "-p", "pipe_timeout=60", "-f", file],
  },
};

// The same files with the lines that are switched off, which save the way from node to node.
for (const kind of ["haproxy", "nginx"]) {
  const { edit } = KINDS[kind];
  KINDS[`${kind} by session id`] = { ...KINDS[kind], edit: (text, ...rest) => edit(text.replaceAll(/^( *)#(?=\S)/gm, "$1"), ...rest) };
}

/** Those that read HTTP. */
export const PROXIES = Object.keys(KINDS).filter((kind) => kind !== "haproxy-tcp");
/** Those that send a request of a session to its node, so that no node has to forward it. */
export const KNOWING = PROXIES.filter((kind) => !["haproxy", "nginx"].includes(kind));

const running = new Set();
process.on("exit", () => {
  for (const child of running) child.kill("SIGKILL");
});

/**
 * A proxy in front of two servers, ended after the test `t`: its `url`, and what it `said`. `change` is
 * made to the text of its file.
 */
export async function proxyFor(t, kind, [first, second], change = (text) => text) {
  const { file, edit, command } = KINDS[kind];
  const nodes = (text) => text
    .replaceAll("10.0.0.11:3000", `127.0.0.1:${first.port}`)
    .replaceAll("10.0.0.12:3000", `127.0.0.1:${second.port}`)
    // Varnish has the port on a line of its own.
    .replaceAll(/\.host = "10\.0\.0\.11";\s+\.port = "3000"/g, `.host = "127.0.0.1"; .port = "${first.port}"`)
    .replaceAll(/\.host = "10\.0\.0\.12";\s+\.port = "3000"/g, `.host = "127.0.0.1"; .port = "${second.port}"`);
  return retryingBusyPorts(async () => {
    const dir = await mkdtemp(join(tmpdir(), `switchboard-${kind.replaceAll(" ", "-")}-`));
    t.after(() => rm(dir, { recursive: true, force: true }));
    const [port] = await freePorts(1);
    const path = join(dir, file);
    await writeFile(path, edit(change(nodes(await readFile(join(FILES, file), "utf8"))), port, dir));
    const [program, ...args] = command(path, dir, port);
    const proxy = { url: `http://127.0.0.1:${port}`, said: "" };
    const child = spawn(program, args, { stdio: ["ignore", "pipe", "pipe"], env: { ...process.env, HOME: dir, XDG_DATA_HOME: dir } });
    running.add(child);
    for (const stream of [child.stdout, child.stderr]) stream.on("data", (chunk) => (proxy.said += chunk));
    child.once("error", (error) => (proxy.said += error.message));
    child.once("close", () => running.delete(child));
    t.after(() => child.kill("SIGTERM") && new Promise((done) => (running.has(child) ? child.once("close", done) : done())));
    await until(`${kind} passes requests on`, async () => {
      if (child.exitCode !== null) throw new Error(`${kind} has ended with ${child.exitCode}: ${proxy.said}`);
      const response = await fetch(`${proxy.url}/socket.io/?EIO=4&transport=polling`, { signal: AbortSignal.timeout(2_000) }).catch(() => undefined);
      return response?.status === 200;
    }, 20_000);
    return proxy;
  });
}

// A server process of its own for each test file: started on a free port, stopped or killed by name,
// its output kept so that a failed test can show the whole scene.

import { spawn } from "node:child_process";
import { randomInt } from "node:crypto";
import { once } from "node:events";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { get as httpsGet } from "node:https";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { after } from "node:test";

import { DEADLINE, within, until } from "./waiting.mjs";

/** The binary under test. */
export const BIN = resolve(process.env.SWITCHBOARD_BIN ?? join(import.meta.dirname, "../../../target/debug/switchboard"));

const running = new Set();
const started = [];

process.on("exit", (code) => {
  // A test that throws before it can stop its server must not leave it behind.
  for (const server of running) server.process.kill("SIGKILL");
  // What the servers said belongs to the scene of a failure, and to nothing else.
  if (code !== 0) for (const server of started) console.error(`--- ${server.url} said:\n${server.logs}`);
});

/**
 * Starts the `switchboard` binary with `config` (nested as in the TOML file) and waits until it is
 * healthy. `args` are added to the command line. Whoever calls this also ends it. There is no admin
 * port unless `config.admin_listen` names one: many servers run side by side. A drain has no grace
 * unless `config.drain` asks for one. `env` is added to its environment. `place`: the port of a server that was
 * there before.
 */
export async function startServer(config = {}, { args = [], env = {}, place } = {}) {
  return retryingBusyPorts(async () => {
    const dir = await mkdtemp(join(tmpdir(), "switchboard-test-"));
    const [port] = place ? [place] : await freePorts(1);
    const file = join(dir, "switchboard.toml");
    await writeFile(file, configuration(port, config), { mode: 0o600 });
    const server = new ServerProcess(BIN, ["serve", "--config", file, ...args], env, port);
    server.onExit(() => rm(dir, { recursive: true, force: true }));
    await server.ready(() => server.get("/healthz").then(({ status }) => status === 200));
    return server;
  });
}

/**
 * Runs the binary to its end: its exit code and what it said. `config` is written to a file and
 * named on the command line; `env` is all that it sees of the environment.
 */
export async function runBinary(args, { config, env = {}, deadline = DEADLINE } = {}) {
  const dir = await mkdtemp(join(tmpdir(), "switchboard-test-"));
  try {
    const file = join(dir, "switchboard.toml");
    if (config) await writeFile(file, toml(config), { mode: 0o600 });
    const child = spawn(BIN, [...args, ...(config ? ["--config", file] : [])], { env: { ...cleanEnvironment(), ...env }, stdio: ["ignore", "pipe", "pipe"] });
    const said = { stdout: "", stderr: "" };
    child.stdout.on("data", (chunk) => (said.stdout += chunk));
    child.stderr.on("data", (chunk) => (said.stderr += chunk));
    const ended = once(child, "close").then(([code]) => ({ code, ...said }));
    return await within(deadline, `switchboard ${args.join(" ")} ends`, ended).finally(() => child.kill("SIGKILL"));
  } finally {
    await rm(dir, { recursive: true, force: true });
  }
}

/** Starts the example of that name, with `env` added to its environment, whose file lies beside the binary as cargo puts it. */
export async function startExample(name, env = {}) {
  return startProgram(join(dirname(BIN), "examples", name), { env });
}

/** Starts a program that serves Socket.IO on the port `PORT` of its environment, to which `env` is added. */
export async function startProgram(command, { args = [], env = {}, cwd } = {}) {
  return retryingBusyPorts(async () => {
    const [port] = await freePorts(1);
    const server = new ServerProcess(command, args, { PORT: String(port), ...env }, port, cwd);
    // It promises no health route: any answer of the engine says that it listens.
    await server.ready(() => server.get("/socket.io/").then(() => true));
    return server;
  });
}

class ServerProcess {
  constructor(command, args, env, port, cwd) {
    this.port = port;
    this.url = `http://127.0.0.1:${port}`;
    this.logs = "";
    this.process = spawn(command, args, { cwd, env: { ...cleanEnvironment(), ...env }, stdio: ["ignore", "pipe", "pipe"] });
    running.add(this);
    started.push(this);
    this.process.stdout.on("data", (chunk) => (this.logs += chunk));
    this.process.stderr.on("data", (chunk) => (this.logs += chunk));
    // "close" comes after the last byte of output, so the logs are complete when `exited` settles.
    this.exited = new Promise((done) => {
      this.process.once("error", (error) => {
        this.logs += `${command}: ${error.message}\n`;
        done({ code: null, signal: null });
      });
      this.process.once("close", (code, signal) => done({ code, signal }));
    });
    this.exited.then((status) => {
      this.status = status;
      running.delete(this);
    });
  }

  onExit(callback) {
    this.exited.then(callback);
  }

  async ready(isReady) {
    try {
      await until("the server answers", () => {
        if (this.status) throw new Error(`it ended with ${JSON.stringify(this.status)}`);
        return isReady().catch(() => false);
      });
    } catch (error) {
      this.process.kill("SIGKILL");
      await this.exited;
      throw new Error(`${error.message}\n--- ${this.process.spawnfile} said:\n${this.logs}`);
    }
  }

  get(path, options = {}) {
    return fetch(this.url + path, { signal: AbortSignal.timeout(DEADLINE), ...options });
  }

  signal(name) {
    this.process.kill(name);
  }

  /** Asks for a drain and waits for the end; returns `{ code, signal }`. */
  async stop(deadline = DEADLINE) {
    if (!this.status) {
      this.process.kill("SIGTERM");
      await within(deadline, "the server ends after SIGTERM", this.exited).catch(async (error) => {
        await this.kill();
        throw new Error(`${error.message}\n--- it said:\n${this.logs}`);
      });
    }
    return this.status;
  }

  async kill() {
    this.process.kill("SIGKILL");
    await this.exited;
  }
}

/** `startServer`, ended after the test file. */
export async function serverForThisFile(config, options) {
  const server = await startServer(config, options);
  after(() => server.kill());
  return server;
}

/** `startServer`, ended after the test `t`. */
export async function serverFor(t, config, options) {
  const server = await startServer(config, options);
  t.after(() => server.kill());
  return server;
}

/** The binary with TLS, ended after the test `t`. `config.tls` names the files. */
export async function tlsServerFor(t, config) {
  const server = await retryingBusyPorts(async () => {
    const dir = await mkdtemp(join(tmpdir(), "switchboard-test-"));
    const [port] = await freePorts(1);
    const file = join(dir, "switchboard.toml");
    await writeFile(file, configuration(port, config), { mode: 0o600 });
    const server = new ServerProcess(BIN, ["serve", "--config", file], {}, port);
    server.url = server.url.replace("http", "https");
    server.onExit(() => rm(dir, { recursive: true, force: true }));
    // Any answer will do: whose certificate it is, is the test's business.
    await server.ready(() => new Promise((answered, failed) => {
      httpsGet(`${server.url}/healthz`, { agent: false, rejectUnauthorized: false }, (response) => answered(response.resume())).on("error", failed);
    }));
    return server;
  });
  t.after(() => server.kill());
  return server;
}

/** The file of a server on this port, with what `startServer` promises. */
function configuration(port, config) {
  return toml({ listen: `127.0.0.1:${port}`, admin_listen: "", ...config, drain: { grace: "0s", ...config.drain } });
}

/** Gives the server another configuration while it runs, and waits until it has taken it. */
export async function reconfigure(server, config) {
  const file = server.process.spawnargs.at(-1);
  await writeFile(file, configuration(server.port, config));
  const reloads = () => server.logs.split("limits and log level reloaded").length;
  const before = reloads();
  server.signal("SIGHUP");
  await until("the server says that it has reloaded", () => reloads() > before);
}

/** The memory that the server's process occupies now, in MB. */
export async function memoryOf(server) {
  const status = await readFile(`/proc/${server.process.pid}/status`, "utf8");
  return Number(/VmRSS:\s*(\d+) kB/.exec(status)[1]) / 1024;
}

/** `startExample`, ended after the test file. */
export async function exampleForThisFile(name, env) {
  const server = await startExample(name, env);
  after(() => server.kill());
  return server;
}

// Another process may take the port between our look and the server's bind.
export async function retryingBusyPorts(start) {
  for (let attempt = 1; ; attempt++) {
    try {
      return await start();
    } catch (error) {
      if (attempt === 3 || !/in use|EADDRINUSE/i.test(error.message)) throw error;
    }
  }
}

// The ports that are given, and how far above each its reservation is. Neither are among those that
// the system gives to outgoing connections: one of these would have taken the port of a server that
// is between two lives.
const FIRST = 10_000;
const LAST = 14_500;
const RESERVATION = 51_000;

/**
 * Ports that nobody listens on, and that no other test process is given before this one ends: a test
 * may stop its server, or its Redis, and start it again on the same port.
 */
export async function freePorts(count) {
  const ports = [];
  while (ports.length < count) {
    const port = randomInt(FIRST, LAST);
    if (port === 10_080) continue; // `fetch` refuses it: Amanda's, by the standard's list of bad ports
    const reservation = await listening(port + RESERVATION);
    if (!reservation) continue;
    const trial = await listening(port);
    if (trial) {
      await new Promise((closed) => trial.close(closed));
      ports.push(port);
    }
    // It is kept, also of a port that is busy, and the system ends it together with this process.
    reservation.unref();
  }
  return ports;
}

/** A listener on the port, or nothing if somebody else listens there. */
async function listening(port) {
  const listener = createServer().listen(port, "127.0.0.1");
  return once(listener, "listening").then(() => listener, (error) => error.code === "EADDRINUSE" ? undefined : Promise.reject(error));
}

// What the developer has set for a server of their own must not leak into the tests.
export function cleanEnvironment() {
  const foreign = (name) => /^(SWITCHBOARD|OTEL)_/.test(name) || ["PORT", "REDIS_URL", "POSTGRES_URL", "RUST_LOG"].includes(name) || /^PG[A-Z]+$/.test(name);
  return Object.fromEntries(Object.entries(process.env).filter(([name]) => !foreign(name)));
}

// The few shapes of TOML that a configuration needs: tables, strings, numbers, booleans, lists, and
// tables in lists. JSON writes all values but tables as TOML does.
function toml(table, path = []) {
  const isTable = (value) => typeof value === "object" && !Array.isArray(value);
  const entries = Object.entries(table);
  const inline = (value) => {
    if (Array.isArray(value)) return `[${value.map(inline).join(", ")}]`;
    if (!isTable(value)) return JSON.stringify(value);
    return `{ ${Object.entries(value).map(([key, inner]) => `${key} = ${inline(inner)}`).join(", ")} }`;
  };
  const values = entries.filter(([, value]) => !isTable(value)).map(([key, value]) => `${key} = ${inline(value)}\n`);
  const tables = entries.filter(([, value]) => isTable(value)).map(([key, value]) => toml(value, [...path, key]));
  return (path.length ? `\n[${path.join(".")}]\n` : "") + values.join("") + tables.join("");
}

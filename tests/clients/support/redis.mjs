// A real redis-server for the tests: on a free port, in a directory of its own, and as mortal as one.

import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdir, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after } from "node:test";
import { promisify } from "node:util";

import { freePorts, retryingBusyPorts } from "./server.mjs";
import { until } from "./waiting.mjs";

const exec = promisify(execFile);
const running = new Set();

process.on("exit", () => {
  for (const child of running) child.kill("SIGKILL");
});

export class RedisServer {
  #dir;
  #options;
  #process;

  /**
   * Not started yet. `keeps`: it writes down what it has, so that it survives a crash. `args`: more of
   * its command line, in which `{dir}` is its directory. `program`: another one than the installed.
   */
  static async prepared({ keeps = false, password, args = [], program = "redis-server" } = {}) {
    const redis = new RedisServer();
    [redis.port] = await freePorts(1);
    redis.#options = { keeps, password, args, program };
    redis.#dir = await mkdtemp(join(tmpdir(), "switchboard-redis-"));
    return redis;
  }

  /** The address, without a password. */
  get url() {
    return `redis://127.0.0.1:${this.port}`;
  }

  async start() {
    const { keeps, password, args: more, program } = this.#options;
    const args = ["--port", this.port, "--bind", "127.0.0.1", "--dir", this.#dir, "--save", "", "--loglevel", "warning"];
    args.push(...(keeps ? ["--appendonly", "yes", "--appendfsync", "always"] : ["--appendonly", "no"]));
    if (password) args.push("--requirepass", password);
    args.push(...more.map((arg) => arg.replace("{dir}", this.#dir)));
    this.#process = spawn(program, args.map(String), { stdio: "ignore" });
    const child = this.#process;
    running.add(child);
    child.once("exit", () => running.delete(child));
    await until("Redis answers", () => {
      // Somebody else's would answer.
      if (child.exitCode !== null) throw new Error(`redis-server has ended with ${child.exitCode}: is port ${this.port} in use?`);
      return this.cli("PING").catch(() => false);
    });
    return this;
  }

  /** Ends as by a crash. With `forgets` what it had written down is lost, too. */
  async kill({ forgets = false } = {}) {
    if (this.#process.exitCode === null && this.#process.signalCode === null) {
      this.#process.kill("SIGKILL");
      await once(this.#process, "exit");
    }
    if (forgets) {
      await rm(this.#dir, { recursive: true, force: true });
      await mkdir(this.#dir);
    }
  }

  /** Stops in its tracks: connections stay open, and nothing is answered. */
  pause() {
    this.#process.kill("SIGSTOP");
  }

  resume() {
    this.#process.kill("SIGCONT");
  }

  async end() {
    if (this.#process) await this.kill();
    await rm(this.#dir, { recursive: true, force: true });
  }

  /** The answer to one command. */
  async cli(...command) {
    return JSON.parse(await this.#ask(["-3", "--json"], command));
  }

  /** The answer to a command that is answered with a text for people, such as `INFO`. */
  async text(...command) {
    return this.#ask([], command);
  }

  async #ask(options, command) {
    const auth = this.#options.password ? ["-a", this.#options.password, "--no-auth-warning"] : [];
    const { stdout } = await exec("redis-cli", ["-p", String(this.port), ...auth, ...options, ...command.map(String)], { timeout: 5_000 });
    return stdout;
  }

  /** How many connections listen to a channel by its name. */
  async listeners(channel, { sharded = false } = {}) {
    const answer = await this.cli("PUBSUB", sharded ? "SHARDNUMSUB" : "NUMSUB", channel);
    return Array.isArray(answer) ? answer[1] : answer[channel];
  }

  /** How many sockets of users the directory of a cluster lists. */
  async listedSockets(prefix = "socket.io") {
    const keys = Array.from({ length: 64 }, (_, bucket) => `switchboard:${prefix}:{u${bucket}}:sockets`);
    const sum = "local n = 0 for _, key in ipairs(KEYS) do n = n + redis.call('ZLEXCOUNT', key, '[s', '(t') end return n";
    return this.cli("EVAL", sum, keys.length, ...keys);
  }
}

/** A Redis that has started, ended after the test `t` or, without one, after the test file. */
export async function redisFor(t, options) {
  return retryingBusyPorts(async () => {
    const redis = await RedisServer.prepared(options);
    (t?.after.bind(t) ?? after)(() => redis.end());
    return redis.start();
  });
}

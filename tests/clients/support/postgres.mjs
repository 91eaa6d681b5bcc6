// A real Postgres for the tests: on a free port, in a directory of its own, and as mortal as one.

import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { createInterface } from "node:readline";
import { after } from "node:test";
import { promisify } from "node:util";

import { freePorts } from "./server.mjs";
import { DEADLINE, within } from "./waiting.mjs";

const exec = promisify(execFile);
/** It ends and removes the server when this process ends, whatever the reason. */
const GUARDIAN = resolve(import.meta.dirname, "../../kit/postgres.sh");

export class PostgresServer {
  #guardian;
  #answers;

  /** `settings`: such as `["max_connections=10"]`. `primary`: the server that it follows as a standby. */
  static async started({ settings = [], primary } = {}) {
    const postgres = new PostgresServer();
    [postgres.port] = await freePorts(1);
    const dir = await mkdtemp(join(tmpdir(), "switchboard-pg-"));
    postgres.#guardian = spawn(GUARDIAN, [dir, String(postgres.port), ...settings], { stdio: ["pipe", "pipe", "inherit"] });
    postgres.#answers = createInterface({ input: postgres.#guardian.stdout })[Symbol.asyncIterator]();
    await postgres.#tell(primary ? `follow ${primary.port}` : "start").catch(async (error) => {
      await postgres.end();
      throw error;
    });
    return postgres;
  }

  /** The address, as the superuser. */
  get url() {
    return this.urlOf("postgres");
  }

  urlOf(user, database = "postgres") {
    return `postgres://${user}@127.0.0.1:${this.port}/${database}`;
  }

  async #tell(command) {
    this.#guardian.stdin.write(`${command}\n`);
    const { value } = await within(2 * DEADLINE, `Postgres: ${command}`, this.#answers.next());
    if (value !== "ok") throw new Error(`Postgres: ${command}: ${value}`);
  }

  /** Ends as by a crash. What was committed stays. */
  kill() {
    return this.#tell("stop");
  }

  /** Starts again at the same place. */
  restart() {
    return this.#tell("start");
  }

  /** A standby becomes a primary. */
  promote() {
    return this.#tell("promote");
  }

  /** Stops in its tracks: connections stay open, and nothing is answered. */
  pause() {
    return this.#tell("freeze");
  }

  resume() {
    return this.#tell("thaw");
  }

  async end() {
    if (this.#guardian.exitCode !== null) return;
    this.#guardian.stdin.end();
    await once(this.#guardian, "exit");
  }

  /** What psql prints for some SQL, a line for each row. */
  async sql(text, { url = this.url } = {}) {
    const { stdout } = await exec("psql", ["-XqtA", "-v", "ON_ERROR_STOP=1", "-c", text, url], { timeout: DEADLINE, maxBuffer: 64 << 20 });
    return stdout.trimEnd();
  }

  /** A session of psql, with a transaction that stays open, say. */
  session({ url = this.url } = {}) {
    return new Session(url);
  }
}

class Session {
  #process;
  #lines;
  #errors = "";

  constructor(url) {
    this.#process = spawn("psql", ["-XqtA", url], { stdio: ["pipe", "pipe", "pipe"] });
    this.#process.stderr.on("data", (chunk) => (this.#errors += chunk));
    this.#lines = createInterface({ input: this.#process.stdout })[Symbol.asyncIterator]();
  }

  /** Runs some SQL, and returns the lines that come. */
  async sql(text) {
    const end = `end-${Math.random()}`;
    this.#errors = "";
    this.#process.stdin.write(`${text};\n\\echo ${end}\n`);
    const lines = [];
    const read = async () => {
      for (;;) {
        const { value, done } = await this.#lines.next();
        if (done || value === end) return;
        lines.push(value);
      }
    };
    await within(DEADLINE, text, read());
    if (this.#errors) throw new Error(this.#errors.trim());
    return lines;
  }

  async end() {
    this.#process.stdin.end();
    await once(this.#process, "exit");
  }
}

/** A Postgres that has started, ended after the test `t` or, without one, after the test file. */
export async function postgresFor(t, options) {
  const postgres = await PostgresServer.started(options);
  (t?.after.bind(t) ?? after)(() => postgres.end());
  return postgres;
}

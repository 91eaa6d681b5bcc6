// The client in Python that most programs use, python-socketio, as Debian has it. It writes other letters than
// "a" to "z" as escapes, sends no headers of a browser, and has another way to upgrade.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { describe, it } from "node:test";

import { BackEnd } from "./support/kept.mjs";
import { freePorts, serverFor } from "./support/server.mjs";
import { SECRET, token } from "./support/tokens.mjs";
import { DEADLINE, until, within } from "./support/waiting.mjs";

const PYTHON = "/usr/bin/python3";
const PROGRAM = join(import.meta.dirname, "support/python_client.py");

/** Text that Python escapes: outside of Latin, outside of the basic plane, and quotes. */
const ODD = 'grüße "wörld" €🎈';
const EVENTS = ["events", "note", "message", "server:draining", ODD];

/** One client in a process of its own. */
class Python {
  heard = [];
  #answers = new Map();
  #number = 0;

  constructor(t, server, options) {
    const told = { url: server.url, events: EVENTS, ...options };
    this.process = spawn(PYTHON, [PROGRAM, JSON.stringify(told)], { stdio: ["pipe", "pipe", "inherit"] });
    t.after(() => this.process.kill("SIGKILL"));
    this.exited = new Promise((done) => this.process.once("close", done));
    createInterface({ input: this.process.stdout }).on("line", (line) => this.#take(JSON.parse(line)));
  }

  #take({ heard, args, answer, value, failed }) {
    if (heard !== undefined) this.heard.push([heard, ...args]);
    if (answer !== undefined) this.#answers.get(answer)(value);
    if (failed !== undefined) this.failed = failed;
  }

  /** The arguments of the events of that name that were heard. */
  of(event) {
    return this.heard.filter(([name]) => name === event).map(([, ...args]) => args);
  }

  async connected() {
    const [[id]] = await until("it is connected", () => this.of("connect").length > 0 && this.of("connect"));
    return id;
  }

  call(event, ...args) {
    const number = this.#number++;
    const answered = new Promise((done) => this.#answers.set(number, done));
    this.process.stdin.write(`${JSON.stringify({ event, args, number })}\n`);
    return within(DEADLINE, `an answer to ${event}`, answered);
  }

  /** Leaves in good order. */
  async leave() {
    this.process.stdin.end();
    assert.equal(await within(DEADLINE, "the client ends", this.exited), 0);
  }
}

const TRANSPORTS = { "websocket only": ["websocket"], "polling only": ["polling"], "polling, then upgraded": undefined };
const bytes = (text) => ({ base64: Buffer.from(text).toString("base64") });

/** A server with a back end, and how to start the next one in its place. */
async function own(t) {
  const dir = await mkdtemp(join(tmpdir(), "switchboard-python-"));
  t.after(() => rm(dir, { recursive: true, force: true }));
  const [admin] = await freePorts(1);
  const config = {
    admin_listen: `127.0.0.1:${admin}`,
    auth: { hs256_secret: SECRET },
    store: { url: `sqlite:${join(dir, "inbox.db")}` },
    inbox: { enabled: true },
    drain: { spread: "0s" },
  };
  const server = await serverFor(t, config);
  return { server, backEnd: new BackEnd(admin), next: () => serverFor(t, config, { place: server.port }) };
}

const numbered = (n) => ({ event: "note", args: [n] });

for (const [name, transports] of Object.entries(TRANSPORTS)) {
  describe(`a client in Python, ${name}`, { timeout: 120_000 }, () => {
    it("calls and is called", async (t) => {
      const { server, backEnd } = await own(t);
      const bob = new Python(t, server, { transports, auth: { token: await token("bob") } });
      const id = await bob.connected();
      const { user, socket } = await bob.call("whoami");
      assert.deepEqual([user, socket], ["bob", id]);

      const first = { [ODD]: [null, 2.5, true], deep: [bytes("\0\x01\xff")] };
      assert.deepEqual(await bob.call("events", first, ODD, bytes("last")), first);
      await until("its echo", () => bob.of("events").length > 0);
      assert.deepEqual(bob.of("events"), [[first, ODD, bytes("last")]]);

      assert.deepEqual(await bob.call("join", `public:${ODD}`), { ok: true, room: `public:${ODD}` });
      assert.equal((await bob.call("join", "private")).error.code, "forbidden");
      assert.equal((await bob.call(`no ${ODD}`, 1)).error.code, "unknown_event");
      await backEnd.ask("POST", "/emit", { rooms: [`public:${ODD}`], event: ODD, args: [ODD, 1] });
      await until("what the room is told", () => bob.of(ODD).length > 0);
      assert.deepEqual(bob.of(ODD), [[ODD, 1]]);

      const question = { sockets: [id], event: "note", args: [], ack: { timeout_ms: 10_000 } };
      assert.deepEqual((await backEnd.ask("POST", "/emit", question)).body.acks, ["seen by python"]);
      const large = "€".repeat(100_000);
      assert.equal(await bob.call("events", large), large);
      await bob.leave();
      await until("it has left", async () => (await backEnd.ask("GET", "/users/bob")).body.sockets.length === 0);
    });

    it("is told why it is refused", async (t) => {
      const { server } = await own(t);
      for (const [namespace, message] of [["/", "unauthorized: "], ["/no such", "Invalid namespace"]]) {
        const mallory = new Python(t, server, { transports, auth: { token: "none" }, namespace });
        await within(DEADLINE, "it gives up", mallory.exited);
        assert.ok(mallory.failed, "it has connected");
        const [[error]] = mallory.of("connect_error");
        assert.ok(error.message.startsWith(message), JSON.stringify(error));
      }
    });

    it("gets what was kept for its user, in order, each once, over the end of its node", async (t) => {
      const { server, backEnd, next } = await own(t);
      for (const n of [1, 2, 3]) await backEnd.kept("bob", numbered(n));
      const bob = new Python(t, server, { transports, auth: { token: await token("bob"), device: "laptop", inbox: true } });
      await until("they are acknowledged", async () => (await backEnd.inbox("bob")).devices.laptop === 3);
      await server.stop();
      assert.equal(bob.of("server:draining").length, 1);
      await next();
      await backEnd.kept("bob", numbered(4));
      await until("it is back", async () => (await backEnd.inbox("bob")).devices.laptop === 4);
      // Its own argument, and the sequence number that it has asked for.
      assert.deepEqual(bob.of("note"), [1, 2, 3, 4].map((n) => [n, n]));
    });

    it("stays away once it was sent away", async (t) => {
      const { server, backEnd } = await own(t);
      const bob = new Python(t, server, { transports, auth: { token: await token("bob") } });
      await bob.connected();
      assert.equal((await backEnd.ask("POST", "/users/bob/disconnect", {})).body.disconnected, 1);
      await until("it is away", () => bob.of("disconnect").length > 0);
      assert.equal((await backEnd.ask("GET", "/users/bob")).body.sockets.length, 0);
      assert.equal(bob.of("connect").length, 1);
    });
  });
}

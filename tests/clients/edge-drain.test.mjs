// A node that leaves while everybody is busy: two hundred clients move to another node behind the
// same address, by themselves, and nobody is told anything that would keep them away.

import assert from "node:assert/strict";
import { describe, it } from "node:test";

import { TRANSPORTS, ack, connected, open } from "./support/clients.mjs";
import { balancer } from "./support/proxies.mjs";
import { rawSession } from "./support/raw.mjs";
import { serverFor } from "./support/server.mjs";
import { until, within } from "./support/waiting.mjs";

const SOCKETS = 200;
const DEADLINE = 30_000;

/** A client that never rests: it emits, waits for the ack, and emits again, until it is stopped. */
class Busy {
  reasons = [];
  refusals = [];
  answers = 0;
  wrong = [];
  notices = 0;
  stopped = false;

  constructor(front, number) {
    const transports = Object.values(TRANSPORTS)[number % 3];
    this.socket = open(front, { transports, reconnection: true, reconnectionDelay: 50, reconnectionDelayMax: 500, timeout: DEADLINE });
    this.socket.on("disconnect", (reason) => this.reasons.push(reason));
    this.socket.on("connect_error", (error) => this.refusals.push(error.message));
    this.socket.on("server:draining", () => this.notices++);
  }

  async work() {
    for (let number = 0; !this.stopped; number++) {
      await until("the client is back", () => this.socket.connected, DEADLINE);
      try {
        const answer = await this.socket.timeout(DEADLINE).emitWithAck("events", number);
        if (answer === number) this.answers++;
        else this.wrong.push({ number, answer });
      } catch {
        // It was disconnected before the answer came: with its transport goes what was on it.
      }
      await new Promise((rested) => setTimeout(rested, 100)); // two hundred of them share one machine
    }
  }
}

describe("a drain", () => {
  it("leaves the first one, too, the time to hear of it", async (t) => {
    const server = await serverFor(t, { drain: { timeout: "20s", spread: "5s" } });
    // Between two polls, as polling clients are now and then.
    const session = await rawSession(server);
    await session.post("40");
    assert.match(await (await session.poll()).text(), /^40\{"sid"/);
    server.signal("SIGTERM");
    await until("the node says that it is not ready", async () => (await server.get("/readyz")).status === 503);
    assert.match(await (await session.poll()).text(), /42\["server:draining",\{"seconds":5\}\]/);
  });
});

describe("a drain under load", () => {
  it(`moves ${SOCKETS} clients on mixed transports to another node`, { timeout: 120_000 }, async (t) => {
    const [old, next] = [
      await serverFor(t, { node_id: "old", drain: { timeout: "20s", spread: "2s" } }),
      await serverFor(t, { node_id: "next" }),
    ];
    const front = await balancer(t, { old, next }, old);
    const clients = Array.from({ length: SOCKETS }, (_, number) => new Busy(front, number));
    t.after(() => clients.forEach(({ socket }) => socket.close()));
    await Promise.all(clients.map(({ socket }) => connected(socket, DEADLINE)));
    const works = Promise.all(clients.map((client) => client.work()));
    await until("all are at work", () => clients.every(({ answers }) => answers > 2), DEADLINE);

    old.signal("SIGTERM");
    // As load balancers do: they ask, and stop sending new connections to who is not ready.
    await until("the node says that it is not ready", async () => (await old.get("/readyz")).status === 503);
    front.target = next;

    assert.deepEqual(await within(25_000, "the process ends", old.exited), { code: 0, signal: null });
    assert.doesNotMatch(old.logs, /took too long/);
    const atWork = clients.map(({ answers }) => answers);
    await until("all are at work again", () => clients.every(({ socket, answers }, at) => socket.connected && answers > atWork[at] + 2), DEADLINE);
    for (const client of clients) client.stopped = true;
    await works;

    for (const { socket, reasons, refusals, wrong, notices } of clients) {
      assert.equal((await ack(socket, "whoami")).node, "next");
      assert.deepEqual(wrong, []);
      assert.ok(notices <= 1, `the notice came ${notices} times`);
      // After "io server disconnect" a client stays away.
      assert.equal(reasons.length, 1, `${reasons}`);
      assert.match(reasons[0], /^transport (close|error)$/);
      for (const message of refusals) assert.match(message, /^(xhr poll|websocket) error$/, "the transport may be refused, a namespace never");
    }
    t.diagnostic(`${clients.reduce((sum, { answers }) => sum + answers, 0)} acks, ${clients.reduce((sum, { refusals }) => sum + refusals.length, 0)} attempts refused`);
  });

  it("moves them although everybody comes back to the node that leaves", { timeout: 120_000 }, async (t) => {
    // A load balancer that does not ask: 503 is all that keeps them from coming back.
    const [old, next] = [
      await serverFor(t, { node_id: "old", drain: { timeout: "20s", spread: "1s" } }),
      await serverFor(t, { node_id: "next" }),
    ];
    const front = await balancer(t, { old, next }, old);
    const clients = Array.from({ length: 50 }, (_, number) => new Busy(front, number));
    t.after(() => clients.forEach(({ socket }) => socket.close()));
    await Promise.all(clients.map(({ socket }) => connected(socket, DEADLINE)));
    const works = Promise.all(clients.map((client) => client.work()));

    old.signal("SIGTERM");
    assert.deepEqual(await within(25_000, "the process ends", old.exited), { code: 0, signal: null });
    front.target = next;
    await until("all are back", () => clients.every(({ socket }) => socket.connected), DEADLINE);
    for (const client of clients) client.stopped = true;
    await works;
    for (const { socket, reasons, refusals } of clients) {
      assert.equal((await ack(socket, "whoami")).node, "next");
      for (const reason of reasons) assert.match(reason, /^transport (close|error)$/);
      for (const message of refusals) assert.match(message, /^(xhr poll|websocket) error$/);
    }
  });
});

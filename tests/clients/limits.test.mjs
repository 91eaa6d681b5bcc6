// Each limit falls on the one who goes over it, and on nobody else.

import assert from "node:assert/strict";
import { describe, it } from "node:test";

import { ack, connect, connected, disconnected, heard, open } from "./support/clients.mjs";
import { RawSocket, rawSession } from "./support/raw.mjs";
import { serverFor } from "./support/server.mjs";
import { until } from "./support/waiting.mjs";

const HANDSHAKE = "/socket.io/?EIO=4&transport=polling";

describe("events_per_second", () => {
  it("answers what is too much with rate_limited, and only to the socket that sent it", async (t) => {
    const server = await serverFor(t, { limits: { events_per_second: 10 } });
    const [hasty, calm] = [await connect(t, server), await connect(t, server)];
    const began = Date.now();
    const answers = await Promise.all(Array.from({ length: 100 }, () => ack(hasty, "whoami")));
    const took = (Date.now() - began) / 1_000;

    const handled = answers.filter((answer) => answer.socket);
    const refused = answers.filter((answer) => answer.error);
    assert.equal(handled.length + refused.length, 100, "each has its answer");
    assert.ok(handled.length >= 20, `a burst is twice the rate, ${handled.length} were handled`);
    assert.ok(handled.length <= 21 + took * 10, `${handled.length} were handled in ${took} s`);
    for (const { error } of refused) {
      assert.equal(error.code, "rate_limited");
      assert.equal(error.retry, true);
      assert.match(error.message, /\S/);
    }
    for (let i = 0; i < 15; i++) assert.equal((await ack(calm, "whoami")).socket, calm.id);
    await until("the hasty one is served again", async () => (await ack(hasty, "whoami")).socket === hasty.id);
  });
});

describe("max_rooms_per_socket", () => {
  it("ends the joining of one socket, until it leaves a room", async (t) => {
    const server = await serverFor(t, { limits: { max_rooms_per_socket: 8 } });
    const [collector, other] = [await connect(t, server), await connect(t, server)];
    const joined = [];
    let refusal;
    for (let number = 0; number < 12 && !refusal; number++) {
      const answer = await ack(collector, "join", `public:${number}`);
      if (answer.ok) joined.push(answer.room);
      else refusal = answer.error;
    }
    // Whether the room of its own id counts as one of the eight is left open here.
    assert.ok(joined.length === 7 || joined.length === 8, `joined ${joined.length} rooms`);
    assert.match(refusal.code, /^(forbidden|too_large)$/);
    assert.deepEqual(await ack(collector, "join", joined[0]), { ok: true, room: joined[0] }, "it is in there already");

    assert.equal((await ack(other, "join", "public:11")).ok, true);
    await ack(collector, "leave", joined[0]);
    assert.equal((await ack(collector, "join", "public:11")).ok, true);
  });
});

describe("max_connections", () => {
  it("answers a handshake too many with 503, until somebody leaves", async (t) => {
    const server = await serverFor(t, { limits: { max_connections: 2 } });
    const [first, second] = [await connect(t, server), await connect(t, server, { transports: ["polling"] })];
    assert.equal((await server.get(HANDSHAKE)).status, 503);
    const raw = new RawSocket(t, server);
    assert.equal(await raw.refusedWith(), 503);
    await assert.rejects(connected(open(server)));

    assert.equal((await ack(second, "whoami")).socket, second.id, "who is in stays in");
    assert.equal((await server.get("/healthz")).status, 200);
    first.close();
    const newcomer = await until("there is room again", () => connect(t, server).catch(() => false));
    assert.equal((await ack(newcomer, "whoami")).socket, newcomer.id);
  });
});

describe("max_payload", () => {
  for (const transports of [["websocket"], ["polling"]]) {
    it(`closes who goes over it, and nobody else (${transports[0]})`, async (t) => {
      const server = await serverFor(t, { engine: { max_payload: "10KB" } });
      const [big, neighbour] = [await connect(t, server, { transports }), await connect(t, server, { transports })];
      assert.equal((await ack(big, "events", "x".repeat(9_000))).length, 9_000, "below the limit it is heard");

      const gone = disconnected(big);
      big.emit("events", "x".repeat(20_000));
      assert.match(await gone, /^transport (close|error)$/);
      assert.equal(await ack(neighbour, "events", "unharmed"), "unharmed");
    });

    it(`counts for bytes too (${transports[0]})`, async (t) => {
      const server = await serverFor(t, { engine: { max_payload: "10KB" } });
      const [big, neighbour] = [await connect(t, server, { transports }), await connect(t, server, { transports })];
      const gone = disconnected(big);
      big.emit("events", Buffer.alloc(20_000));
      assert.match(await gone, /^transport (close|error)$/);
      assert.equal(await ack(neighbour, "events", "unharmed"), "unharmed");
    });
  }

  it("is told to the client in the handshake", async (t) => {
    const server = await serverFor(t, { engine: { max_payload: "10KB" } });
    assert.equal((await rawSession(server)).maxPayload, 10_000);
  });
});

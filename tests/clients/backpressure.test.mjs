// Clients that send faster than they are worked off, and read as fast as they can: nothing is refused,
// nothing is missing, and nobody is cut off for what was caused by going on.

import assert from "node:assert/strict";
import { describe, it } from "node:test";

import { ack, connect } from "./support/clients.mjs";
import { network } from "./support/proxies.mjs";
import { rawSession, RawSocket } from "./support/raw.mjs";
import { redisFor } from "./support/redis.mjs";
import { memoryOf, serverFor } from "./support/server.mjs";
import { until } from "./support/waiting.mjs";

/** Emits `count` events, each with an acknowledgement, and waits for all answers and echoes. */
async function flood(socket, count, data = "") {
  const seen = { acks: [], echoes: [], reasons: [] };
  socket.on("events", ({ number }) => seen.echoes.push(number));
  socket.on("disconnect", (reason) => seen.reasons.push(reason));
  for (let number = 0; number < count; number++) socket.emit("events", { number, data }, (answer) => seen.acks.push(answer.number));
  await until("all are answered", () => {
    if (seen.reasons.length) throw new Error(`disconnected by ${seen.reasons}, after ${seen.acks.length} answers`);
    return seen.acks.length >= count && seen.echoes.length >= count;
  }, 60_000);
  const expected = Array.from({ length: count }, (_, number) => number);
  assert.deepEqual(seen.acks, expected, "each is answered once, in order");
  assert.deepEqual(seen.echoes, expected);
}

describe("a flood of events", () => {
  it("is answered, every single one, by websocket", { timeout: 180_000 }, async (t) => {
    const server = await serverFor(t);
    await flood(await connect(t, server), 20_000);
  });

  it("is answered, every single one, by polling", { timeout: 180_000 }, async (t) => {
    const server = await serverFor(t);
    await flood(await connect(t, server, { transports: ["polling"] }), 5_000);
  });

  it("is answered when its packets are large", { timeout: 180_000 }, async (t) => {
    const server = await serverFor(t);
    const before = await memoryOf(server);
    await flood(await connect(t, server), 60, "x".repeat(900_000));
    await flood(await connect(t, server, { transports: ["polling"] }), 30, "x".repeat(400_000));
    const after = await memoryOf(server);
    t.diagnostic(`${before.toFixed(0)} MB before, ${after.toFixed(0)} MB after`);
  });

  it("is answered behind a handler that waits for a slow Redis", { timeout: 180_000 }, async (t) => {
    const redis = await redisFor(t);
    const way = await network(t, redis.port, { delay: 75 });
    const server = await serverFor(t, { redis: { url: `redis://127.0.0.1:${way.port}` } });
    for (const transport of ["websocket", "polling"]) {
      const socket = await connect(t, server, { transports: [transport] });
      const joined = ack(socket, "join", "public:far");
      await flood(socket, transport === "websocket" ? 20_000 : 5_000);
      assert.equal((await joined).ok, true);
    }
  });

  it("of a thousand in one request is answered", { timeout: 120_000 }, async (t) => {
    const server = await serverFor(t);
    const session = await rawSession(server);
    await session.post("40");
    let heard = (await (await session.poll()).text());
    const events = (from) => Array.from({ length: 1_000 }, (_, at) => `42${from + at}["events",${from + at}]`).join("\x1e");
    const posting = (async () => {
      for (let round = 0; round < 5; round++) assert.equal((await session.post(events(round * 1_000))).status, 200);
    })();
    while (!heard.includes("434999[")) {
      const response = await session.poll();
      assert.equal(response.status, 200, `after ${heard.length} bytes`);
      heard += `\x1e${await response.text()}`;
    }
    await posting;
    const answers = heard.split("\x1e").filter((packet) => packet.startsWith("43"));
    assert.deepEqual(answers, Array.from({ length: 5_000 }, (_, at) => `43${at}[${at}]`));
  });

  it("whose handlers need longer than a heartbeat may take does not look like a dead client", { timeout: 120_000 }, async (t) => {
    const redis = await redisFor(t);
    const way = await network(t, redis.port, { delay: 50 });
    // Each join is a round trip of 100 ms, and the pongs are behind twenty seconds of them.
    const server = await serverFor(t, { redis: { url: `redis://127.0.0.1:${way.port}` }, engine: { ping_interval: "500ms", ping_timeout: "1s" } });
    const raw = await RawSocket.connected(t, server, { answersPings: true });
    const COUNT = 400;
    for (let number = 0; number < COUNT; number++) raw.send(`42${number}["join","public:${number % 100}"]`);
    for (let answered = 0; answered < 50; answered++) await raw.next((text) => text.startsWith("43"));
    assert.equal(raw.closed, false, "after five seconds in which a heartbeat may take one and a half");
  });

  it("of a client that does not read is not read either, and goes on when it does", { timeout: 120_000 }, async (t) => {
    const server = await serverFor(t);
    const raw = await RawSocket.connected(t, server);
    raw.ws._socket.pause();
    const data = "x".repeat(10_000);
    const COUNT = 3_000;
    for (let number = 0; number < COUNT; number++) raw.send(`42["events",${number},"${data}"]`);
    // What the server has not read is still with the client.
    await until("the server reads no more", async () => {
      const waiting = raw.ws.bufferedAmount;
      await new Promise((soon) => setTimeout(soon, 200));
      return raw.ws.bufferedAmount === waiting;
    });
    assert.ok(raw.ws.bufferedAmount > 1_000_000, `${raw.ws.bufferedAmount} bytes are left of 30 MB`);
    raw.ws._socket.resume();
    for (let number = 0; number < COUNT; number++) {
      const frame = await raw.next((text) => text.startsWith('42["events"'));
      assert.equal(frame.slice(0, 30).match(/,(\d+),/)[1], String(number));
    }
    assert.equal(raw.closed, false);
  });
});

// A client that does not read must cost nobody else anything: not a message, not the order, not the
// server's memory. It is cut at the transport, and its place is free.

import assert from "node:assert/strict";
import { describe, it } from "node:test";

import { ack, connect, connectWith } from "./support/clients.mjs";
import { RawSocket } from "./support/raw.mjs";
import { freePorts, memoryOf, serverFor } from "./support/server.mjs";
import { SECRET, token } from "./support/tokens.mjs";
import { until } from "./support/waiting.mjs";

const auth = { hs256_secret: SECRET };
const alice = await token("alice");
const ROOM = "public:flood";
const NEIGHBOURS = 20;
const BATCH = 20;
// More than all buffers between the server and a client that does not read can hold.
const MOST = 1_500;
const MESSAGE = "x".repeat(32_000);

/** Alice, in the room, from now on deaf. */
async function deafAlice(t, server) {
  const raw = await RawSocket.connected(t, server, { auth: { token: alice } });
  raw.send(`420${JSON.stringify(["join", ROOM])}`);
  await raw.next((frame) => frame.startsWith("430"));
  raw.ws._socket.pause();
  return raw;
}

/** Healthy members of the room, who write down the numbers that they hear. */
async function neighbours(t, server) {
  return Promise.all(
    Array.from({ length: NEIGHBOURS }, async (_, number) => {
      // By websocket, but for two of them: what is large and many is not what polling is for.
      const socket = await connect(t, server, { transports: [number < 2 ? "polling" : "websocket"] });
      const member = { socket, heard: [], reasons: [] };
      socket.on("message", ({ data }) => member.heard.push(data.number));
      socket.on("disconnect", (reason) => member.reasons.push(reason));
      assert.deepEqual(await ack(socket, "join", ROOM), { ok: true, room: ROOM });
      return member;
    }),
  );
}

/**
 * Publishes batch after batch, each when all neighbours have heard the one before, so that none of
 * them ever has more waiting than it may; until `enough`. Returns how many were published and the
 * most memory that the server had.
 */
async function flood(publisher, members, server, enough) {
  let [sent, peak] = [0, 0];
  while (!(await enough())) {
    assert.ok(sent < MOST, `${sent} messages did not suffice`);
    const answers = Array.from({ length: BATCH }, () => ack(publisher, "publish", { room: ROOM, data: { number: sent++, MESSAGE } }));
    for (const answer of await Promise.all(answers)) assert.deepEqual(answer, { ok: true });
    await until("all neighbours have heard the batch", () => members.every(({ heard }) => heard.length >= sent));
    peak = Math.max(peak, await memoryOf(server));
  }
  return { sent, peak };
}

/** Publishes without waiting for anybody who listens. */
async function publishAll(publisher, count) {
  for (let sent = 0; sent < count; sent += BATCH) {
    await Promise.all(Array.from({ length: BATCH }, (_, at) => ack(publisher, "publish", { room: ROOM, data: { number: sent + at, MESSAGE } })));
  }
}

/** Lets alice in again if she has no socket any more. */
const aliceIsLetIn = async (t, server) => {
  try {
    await connectWith(t, server, alice);
    return true;
  } catch (error) {
    if (error.data?.code !== "too_many_sockets") throw error;
    return false;
  }
};

const numbers = (count) => Array.from({ length: count }, (_, number) => number);

async function neighboursAreWell(members, sent) {
  for (const { socket, heard, reasons } of members) {
    assert.deepEqual(heard, numbers(sent), "everything, once, in order");
    assert.deepEqual(reasons, []);
    assert.equal((await ack(socket, "whoami")).socket, socket.id);
  }
}

/** What a cut client finds when it reads again: a beginning without gaps, and then the end. */
async function heardNoGap(raw, sent) {
  raw.ws._socket.resume();
  await raw.whenClosed();
  const events = raw.frames.filter((frame) => frame.startsWith('42["message"')).map((frame) => JSON.parse(frame.slice(2))[1].data.number);
  assert.ok(events.length < sent, "it was cut before the end");
  assert.deepEqual(events, numbers(events.length));
  // After "41" (io server disconnect) the client would stay away.
  assert.ok(!raw.frames.includes("41"), "the transport ended, not the namespace");
}

describe("a client that stops reading", () => {
  it("is cut off when too many packets wait for it, and its neighbours hear everything", { timeout: 120_000 }, async (t) => {
    // No stall is found within the time that this test has: only the number of packets can be the cause.
    const server = await serverFor(t, { auth, users: { max_sockets: 1 }, engine: { max_buffered_packets: 64 }, edge: { stall_timeout: "10m" } });
    const members = await neighbours(t, server);
    const publisher = await connect(t, server);
    assert.deepEqual(await ack(publisher, "join", ROOM), { ok: true, room: ROOM });
    const before = await memoryOf(server);
    const raw = await deafAlice(t, server);

    const { sent, peak } = await flood(publisher, members, server, () => aliceIsLetIn(t, server));
    t.diagnostic(`cut after ${sent} messages of ${MESSAGE.length} bytes; the server had ${before.toFixed(0)} MB before and ${peak.toFixed(0)} MB at most`);
    await neighboursAreWell(members, sent);
    await heardNoGap(raw, sent);
    // All that may wait for one socket is 2 MB here; the rest is for batches under way to twenty.
    assert.ok(peak - before < 100, `the server grew from ${before} to ${peak} MB`);
  });

  it("is cut off while 20,000 packets are emitted to its room, and the server's memory stays bounded", { timeout: 180_000 }, async (t) => {
    // Nothing is set but who may come and where to look: the defaults have to do.
    const [port] = await freePorts(1);
    const server = await serverFor(t, { auth, admin_listen: `127.0.0.1:${port}` });
    const cut = async () => {
      const text = await (await fetch(`http://127.0.0.1:${port}/metrics`)).text();
      return Object.fromEntries([...text.matchAll(/^switchboard_connections_cut_total\{reason="(\w+)"\} (\d+)$/gm)].map(([, reason, count]) => [reason, Number(count)]));
    };
    const [COUNT, ROUND, MEMBERS] = [20_000, 400, 5];
    const data = "x".repeat(2_000);
    const members = await Promise.all(Array.from({ length: MEMBERS }, async (_, number) => {
      const socket = await connect(t, server, { transports: [number ? "websocket" : "polling"] });
      assert.deepEqual(await ack(socket, "join", ROOM), { ok: true, room: ROOM });
      const member = { socket, heard: [], reasons: [] };
      socket.on("message", ({ data: { number } }) => member.heard.push(number));
      socket.on("disconnect", (reason) => member.reasons.push(reason));
      return member;
    }));
    const publisher = await connect(t, server);
    assert.deepEqual(await ack(publisher, "join", ROOM), { ok: true, room: ROOM });
    const before = await memoryOf(server);
    const raw = await deafAlice(t, server);
    assert.equal((await cut()).slow_consumer, 0);

    let [peak, cutAfter] = [before, undefined];
    for (let sent = 0; sent < COUNT; ) {
      const answers = Array.from({ length: ROUND }, () => ack(publisher, "publish", { room: ROOM, data: { number: sent++, data } }));
      await Promise.all(answers);
      await until("the others have heard the round", () => members.every(({ heard }) => heard.length >= sent));
      peak = Math.max(peak, await memoryOf(server));
      if (!cutAfter && (await cut()).slow_consumer) cutAfter = sent;
    }
    t.diagnostic(`${COUNT} packets of ${data.length} bytes: cut off within ${cutAfter}; the server had ${before.toFixed(0)} MB before and ${peak.toFixed(0)} MB at most`);
    assert.ok(cutAfter < COUNT, "cut off while they were emitted");
    const { slow_consumer, stalled } = await cut();
    assert.deepEqual({ slow_consumer, stalled }, { slow_consumer: 1, stalled: 0 }, "once, and counted by its reason");
    await neighboursAreWell(members, COUNT);
    await heardNoGap(raw, COUNT);
    // 8192 packets of 2 kB are 16 MB, and what is in the buffers of the connection is not the server's.
    assert.ok(peak - before < 64, `the server grew from ${before} to ${peak} MB`);
  });

  it("is cut off when it has taken nothing for too long, though few packets wait", { timeout: 120_000 }, async (t) => {
    const server = await serverFor(t, { auth, users: { max_sockets: 1 }, edge: { stall_timeout: "500ms" } });
    const members = await neighbours(t, server);
    const publisher = await connect(t, server);
    assert.deepEqual(await ack(publisher, "join", ROOM), { ok: true, room: ROOM });
    const raw = await deafAlice(t, server);

    // Fewer than the 8192 packets that may wait, and long before a heartbeat of 45 s is over.
    const { sent } = await flood(publisher, members, server, () => aliceIsLetIn(t, server));
    t.diagnostic(`cut within ${sent} messages`);
    await neighboursAreWell(members, sent);
    await heardNoGap(raw, sent);
  });

  it("for a moment only is not cut, and hears everything", { timeout: 120_000 }, async (t) => {
    const server = await serverFor(t, { auth, users: { max_sockets: 1 }, edge: { stall_timeout: "60s" } });
    const publisher = await connect(t, server);
    assert.deepEqual(await ack(publisher, "join", ROOM), { ok: true, room: ROOM });
    const raw = await deafAlice(t, server);
    await publishAll(publisher, 1_000);
    raw.ws._socket.resume();
    for (let number = 0; number < 1_000; number++) {
      const frame = await raw.next((text) => text.startsWith('42["message"'));
      assert.equal(JSON.parse(frame.slice(2))[1].data.number, number);
    }
    assert.equal(raw.closed, false);
  });

  it("is gone in bounded time although nobody says anything more", { timeout: 120_000 }, async (t) => {
    const server = await serverFor(t, { auth, users: { max_sockets: 1 }, edge: { stall_timeout: "500ms" } });
    const publisher = await connect(t, server);
    assert.deepEqual(await ack(publisher, "join", ROOM), { ok: true, room: ROOM });
    await deafAlice(t, server);
    await publishAll(publisher, 1_000);
    await until("alice's place is free", () => aliceIsLetIn(t, server));
  });
});

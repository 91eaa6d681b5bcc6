// What one connection can make the server hold: each case is opened and measured, and the memory has
// a bound with plenty of room below what it was without one.

import assert from "node:assert/strict";
import { describe, it } from "node:test";

import { ack, connect } from "./support/clients.mjs";
import { RawSocket } from "./support/raw.mjs";
import { memoryOf, serverFor } from "./support/server.mjs";
import { frame, PING, TcpSocket, TEXT } from "./support/tcp.mjs";
import { until } from "./support/waiting.mjs";

/** Runs `attack` and returns the most memory that the server had meanwhile, above what it had before. */
async function growthWhile(t, server, attack) {
  const before = await memoryOf(server);
  let [peak, over] = [before, false];
  const done = attack().finally(() => (over = true));
  while (!over) {
    peak = Math.max(peak, await memoryOf(server));
    await Promise.race([done, new Promise((soon) => setTimeout(soon, 20))]);
  }
  const result = await done;
  peak = Math.max(peak, await memoryOf(server));
  t.diagnostic(`${before.toFixed(0)} MB before, ${peak.toFixed(0)} MB at most`);
  return { growth: peak - before, result };
}

async function isWell(t, server) {
  const socket = await connect(t, server);
  assert.equal((await ack(socket, "whoami")).socket, socket.id);
  socket.disconnect();
}

/** Writes for `duration`, or until the server has taken `most` bytes. */
const flooding = (raw, bytes, most, duration) => {
  const end = Date.now() + duration;
  return raw.floodWith(bytes, () => Date.now() > end || raw.tcp.bytesWritten > most);
};

describe("a client that reads nothing", () => {
  it("cannot pile up the answers to its pings", { timeout: 120_000 }, async (t) => {
    const server = await serverFor(t);
    const raw = await TcpSocket.open(t, server);
    raw.turnDeaf();
    const pings = Buffer.concat(Array.from({ length: 500 }, () => frame(PING, "x".repeat(125))));
    const { growth } = await growthWhile(t, server, () => flooding(raw, pings, 300_000_000, 4_000));
    assert.ok(growth < 30, `it grew by ${growth} MB`);
    await isWell(t, server);
  });

  it("cannot pile up the echoes of its events", { timeout: 120_000 }, async (t) => {
    const server = await serverFor(t);
    const raw = await TcpSocket.open(t, server);
    raw.turnDeaf();
    const event = frame(TEXT, `42["events","${"x".repeat(990_000)}"]`);
    const { growth } = await growthWhile(t, server, () => flooding(raw, event, 400_000_000, 4_000));
    assert.ok(growth < 60, `it grew by ${growth} MB`);
    await isWell(t, server);
  });

  it("is cut off by the bytes that wait for it, however few packets they are", { timeout: 120_000 }, async (t) => {
    const server = await serverFor(t, { engine: { max_buffered_bytes: "4MB" }, edge: { stall_timeout: "10m" } });
    const deaf = await RawSocket.connected(t, server);
    deaf.send('420["join","public:a"]');
    await deaf.next((text) => text.startsWith("430"));
    deaf.ws._socket.pause();
    const publisher = await connect(t, server, { transports: ["websocket"] });
    assert.equal((await ack(publisher, "join", "public:a")).ok, true);
    const data = "x".repeat(500_000);
    const { growth } = await growthWhile(t, server, async () => {
      for (let sent = 0; sent < 100; sent++) assert.deepEqual(await ack(publisher, "publish", { room: "public:a", data }), { ok: true });
    });
    deaf.ws._socket.resume();
    await deaf.whenClosed();
    assert.ok(growth < 60, `it grew by ${growth} MB`);
    assert.equal((await ack(publisher, "whoami")).socket, publisher.id);
  });

  it("slower than the least rate is a slow consumer, and one that is faster is not", { timeout: 120_000 }, async (t) => {
    const server = await serverFor(t, { edge: { stall_timeout: "500ms", min_read_rate: "200kB" } });
    const [slow, fast] = [await RawSocket.connected(t, server), await RawSocket.connected(t, server)];
    // More than the buffers between hold, so that the server feels how they read.
    for (const raw of [slow, fast]) {
      raw.ws._socket.pause();
      for (let sent = 0; sent < 16; sent++) raw.send(`42["events","${"x".repeat(900_000)}"]`);
    }
    const read = (raw, bytes) => {
      for (let got = 0; got < bytes; ) {
        const chunk = raw.ws._socket.read();
        if (!chunk) return;
        got += chunk.length;
      }
    };
    const [sip, gulp] = [setInterval(() => read(slow, 1), 100), setInterval(() => fast.ws._socket.resume(), 100)];
    t.after(() => [sip, gulp].forEach(clearInterval));
    await until("the slow one is cut off", () => slow.closed, 20_000);
    await until("the fast one has everything", () => fast.frames.filter((text) => text.startsWith?.('42["events"')).length === 16, 20_000);
    assert.equal(fast.closed, false);
  });
});

describe("all clients together", () => {
  it("make the node cut those for whom the most is held", { timeout: 120_000 }, async (t) => {
    const server = await serverFor(t, { limits: { max_buffered_bytes: "20MB" }, edge: { stall_timeout: "10m" } });
    const modest = await RawSocket.connected(t, server);
    const deaf = await Promise.all(Array.from({ length: 6 }, async (_, number) => {
      const raw = await RawSocket.connected(t, server);
      raw.send(`420["join","public:${number}"]`);
      await raw.next((text) => text.startsWith("430"));
      raw.ws._socket.pause();
      return raw;
    }));
    const publisher = await connect(t, server, { transports: ["websocket"] });
    const data = "x".repeat(500_000);
    const { growth } = await growthWhile(t, server, async () => {
      for (let number = 0; number < deaf.length; number++) {
        assert.equal((await ack(publisher, "join", `public:${number}`)).ok, true);
        for (let sent = 0; sent < 30; sent++) assert.deepEqual(await ack(publisher, "publish", { room: `public:${number}`, data }), { ok: true });
      }
    });
    assert.ok(growth < 100, `it grew by ${growth} MB`);
    for (const raw of deaf) raw.ws._socket.resume();
    await until("some of the deaf are cut off", () => deaf.some(({ closed }) => closed));
    modest.send('421["whoami"]');
    await modest.next((text) => text.startsWith("431"));
  });
});

describe("connections that join nothing", () => {
  const sessions = 4_000;

  /** Opens and ends `sessions`, 50 at a time, and returns what the server holds for each, in kB. */
  async function heldFor(t, server, one) {
    const round = async (count) => {
      for (let done = 0; done < count; done += 50) await Promise.all(Array.from({ length: 50 }, () => one()));
    };
    await round(500); // what is needed once is there now
    const before = await memoryOf(server);
    await round(sessions);
    const after = await memoryOf(server);
    t.diagnostic(`${sessions} sessions: ${before.toFixed(1)} MB before, ${after.toFixed(1)} MB after`);
    return ((after - before) * 1024) / sessions;
  }

  it("hold nothing when they are closed, by websocket", { timeout: 120_000 }, async (t) => {
    const server = await serverFor(t);
    const held = await heldFor(t, server, async () => {
      const raw = await TcpSocket.open(undefined, server, { joins: false });
      raw.tcp.destroy();
    });
    assert.ok(held < 4, `${held} kB for each`);
  });

  it("hold nothing when they are closed for what they have sent", { timeout: 120_000 }, async (t) => {
    const server = await serverFor(t);
    const held = await heldFor(t, server, async () => {
      const raw = await TcpSocket.open(undefined, server, { joins: false });
      raw.tcp.write(frame(TEXT, "4garbage"));
      await until("it is closed", () => raw.closed);
    });
    assert.ok(held < 4, `${held} kB for each`);
  });

  it("hold nothing when they are closed, by polling", { timeout: 120_000 }, async (t) => {
    const server = await serverFor(t);
    const url = `${server.url}/socket.io/?EIO=4&transport=polling`;
    const held = await heldFor(t, server, async () => {
      const { sid } = JSON.parse((await (await fetch(url)).text()).slice(1));
      assert.equal(await (await fetch(`${url}&sid=${sid}`, { method: "POST", body: "1" })).text(), "ok");
    });
    assert.ok(held < 4, `${held} kB for each`);
  });

  it("are let go after the connect timeout, whatever they have sent before", { timeout: 30_000 }, async (t) => {
    const server = await serverFor(t, { engine: { connect_timeout: "500ms" } });
    const raw = await TcpSocket.open(t, server, { joins: false });
    // Nobody has joined this, and nobody is told so.
    raw.tcp.write(frame(TEXT, '42/nowhere,["x"]'));
    await until("it is closed", () => raw.closed);
    assert.ok(!raw.received.includes("40"), "it is told nothing of what the server does to end it");
  });
});

describe("messages", () => {
  it("in many fragments cost little, however they are cut", { timeout: 120_000 }, async (t) => {
    const server = await serverFor(t);
    const text = `42["events","${"x".repeat(300_000)}"]`;
    const fragments = [...text].map((byte, at) => frame(at ? 0 : TEXT, byte, { fin: at === text.length - 1 }));
    const raw = await TcpSocket.open(t, server);
    const { growth } = await growthWhile(t, server, async () => {
      for (let at = 0; at < fragments.length; at += 10_000) raw.tcp.write(Buffer.concat(fragments.slice(at, at + 10_000)));
      await raw.hears('42["events"', 20_000);
    });
    assert.ok(growth < 40, `it grew by ${growth} MB`);
  });

  it("of a byte more than max_payload are closed with 1009, as in Node.js", { timeout: 30_000 }, async (t) => {
    const server = await serverFor(t, { engine: { max_payload: "10kB" } });
    const event = (bytes) => `42["events","${"x".repeat(bytes - 15)}"]`;
    const fits = await RawSocket.connected(t, server);
    fits.send(event(10_000));
    await fits.next((text) => text.startsWith('42["events"'));
    const raw = await RawSocket.connected(t, server);
    const status = new Promise((resolve) => raw.ws.once("close", resolve));
    raw.send(event(10_001));
    await raw.whenClosed();
    assert.equal(await status, 1009);
  });
});

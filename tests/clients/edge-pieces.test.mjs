// TCP promises bytes, not packets. All traffic goes through a proxy that cuts it in pieces of 1 to 7
// bytes, in both directions, so that every header and every frame is cut somewhere.

import assert from "node:assert/strict";
import { describe, it } from "node:test";

import { TRANSPORTS, ack, clientsOf, connect, connectV2, connected, echoedWhileUpgrading, heard, open, openV2, refusal } from "./support/clients.mjs";
import { choppingProxy } from "./support/proxies.mjs";
import { RawSocket } from "./support/raw.mjs";
import { serverForThisFile } from "./support/server.mjs";
import { SECRET, token } from "./support/tokens.mjs";
import { until } from "./support/waiting.mjs";

const server = await serverForThisFile({ auth: { hs256_secret: SECRET } });
const DEADLINE = 30_000;

const clients = {
  ...clientsOf(server),
  "2.x, websocket only": (t, proxy) => connectV2(t, proxy),
};

for (const [name, connectClient] of Object.entries(clients)) {
  describe(`through pieces of a few bytes a client (${name})`, () => {
    it("gets its event back, and an ack", async (t) => {
      const socket = await connectClient(t, await choppingProxy(t, server));
      const text = "déjà vu · 漢字 · 👋";
      const echo = heard(socket, "events", undefined, DEADLINE);
      assert.deepEqual(await ack(socket, "events", { text }, 2), { text });
      assert.deepEqual(await echo, [{ text }, 2]);
    });

    // The three ways in which a frame says how long it is.
    for (const size of [0, 100, 125, 126, 1_000, 65_535, 65_536]) {
      it(`gets ${size} bytes back`, async (t) => {
        const socket = await connectClient(t, await choppingProxy(t, server));
        const bytes = Buffer.from(Array.from({ length: size }, (_, at) => at % 251));
        const echo = heard(socket, "events", undefined, DEADLINE);
        socket.emit("events", bytes, "and text");
        const [back, rest] = await echo;
        assert.deepEqual(Buffer.from(back), bytes);
        assert.equal(rest, "and text");
      });
    }

    it("hears 200 events in the order in which it sent them", async (t) => {
      const socket = await connectClient(t, await choppingProxy(t, server));
      const numbers = [];
      socket.on("events", (number) => numbers.push(number));
      for (let number = 0; number < 200; number++) socket.emit("events", number, "x".repeat(number % 140));
      await until("all are back", () => numbers.length >= 200, DEADLINE);
      assert.deepEqual(numbers, Array.from({ length: 200 }, (_, number) => number));
    });

    it("hears 200 messages of a room in the order in which they were published", async (t) => {
      const socket = await connectClient(t, await choppingProxy(t, server));
      const publisher = await connect(t, server);
      const numbers = [];
      socket.on("message", ({ data }) => numbers.push(data.number));
      const room = `public:${name}`;
      for (const member of [socket, publisher]) assert.deepEqual(await ack(member, "join", room), { ok: true, room });
      for (let number = 0; number < 200; number++) publisher.emit("publish", { room, data: { number, rest: "x".repeat(number % 140) } });
      await until("all have come", () => numbers.length >= 200, DEADLINE);
      assert.deepEqual(numbers, Array.from({ length: 200 }, (_, number) => number));
    });
  });
}

describe("through pieces of a few bytes a refusal", () => {
  for (const [name, transports] of Object.entries(TRANSPORTS)) {
    it(`comes whole (4.x, ${name})`, async (t) => {
      const error = await refusal(t, await choppingProxy(t, server), { transports, auth: { token: "garbage" } });
      assert.equal(error.message, `unauthorized: ${error.data.message}`);
      assert.deepEqual({ ...error.data, message: "" }, { code: "unauthorized", message: "", retry: false });
    });
  }

  it("comes whole (2.x, websocket only)", async (t) => {
    const socket = openV2(await choppingProxy(t, server), { query: { token: "garbage" } });
    t.after(() => socket.close());
    await assert.rejects(connected(socket), /unauthorized/);
  });

  it("is followed by the next attempt on the same connection", async (t) => {
    const raw = new RawSocket(t, await choppingProxy(t, server));
    await raw.next((frame) => frame.startsWith("0{"));
    for (let attempt = 0; attempt < 10; attempt++) {
      raw.send('40{"token":"garbage"}');
      const { data } = JSON.parse((await raw.next()).replace(/^44/, ""));
      assert.equal(data.code, "unauthorized");
    }
    raw.send(`40${JSON.stringify({ token: await token("alice") })}`);
    assert.match(await raw.next(), /^40\{"sid"/);
  });
});

describe("through pieces of a few bytes the upgrade", () => {
  it("loses nothing of what is sent while it happens", async (t) => {
    const socket = open(await choppingProxy(t, server), { transports: ["polling", "websocket"] });
    t.after(() => socket.close());
    const { sent, answered } = await echoedWhileUpgrading(await connected(socket), DEADLINE);
    assert.deepEqual(answered, sent);
  });
});

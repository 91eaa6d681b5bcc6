// The same conversation over every transport, with the client of today and the one of 2018.

import assert from "node:assert/strict";
import { describe, it } from "node:test";

import { ack, clientsOf, connect, connectV2, echoedWhileUpgrading, heard } from "./support/clients.mjs";
import { serverForThisFile } from "./support/server.mjs";
import { until } from "./support/waiting.mjs";

const server = await serverForThisFile();

const clients = {
  ...clientsOf(server),
  "2.x, websocket only": (t) => connectV2(t, server),
};

/** What comes back for `events` with these arguments. */
async function echoed(socket, ...args) {
  const echo = heard(socket, "events");
  socket.emit("events", ...args);
  return echo;
}

for (const [name, connectClient] of Object.entries(clients)) {
  describe(`a client (${name})`, () => {
    it("has its event acknowledged with the first argument", async (t) => {
      const socket = await connectClient(t);
      assert.deepEqual(await ack(socket, "events", { hello: "world" }, "second"), { hello: "world" });
    });

    it("gets ten arguments back as they were", async (t) => {
      const socket = await connectClient(t);
      const args = [1, "two", { three: 3 }, [4], true, null, 7.5, "", {}, -10];
      assert.deepEqual(await echoed(socket, ...args), args);
    });

    it("gets its letters back, of whatever script", async (t) => {
      const socket = await connectClient(t);
      const text = "déjà vu · ключ · 漢字 · العربية · 👩‍👩‍👧‍👦 · \u2028 \u0000 \" \\ \u001e";
      assert.deepEqual(await echoed(socket, text, { [text]: text }), [text, { [text]: text }]);
    });

    it("gets bytes back, alone, empty, nested and mixed with the rest", async (t) => {
      const socket = await connectClient(t);
      const bytes = Buffer.from([0, 1, 2, 0x1e, 0xff]);
      const [alone, empty, nested, last] = await echoed(socket, bytes, Buffer.alloc(0), { deep: [{ bytes }, "x"] }, 4);
      assert.deepEqual(Buffer.from(alone), bytes);
      assert.deepEqual(Buffer.from(empty), Buffer.alloc(0));
      assert.deepEqual(Buffer.from(nested.deep[0].bytes), bytes);
      assert.equal(nested.deep[1], "x");
      assert.equal(last, 4);
    });

    it("has bytes acknowledged with the same bytes", async (t) => {
      const socket = await connectClient(t);
      const bytes = Buffer.from("not text \xff", "latin1");
      assert.deepEqual(Buffer.from(await ack(socket, "events", bytes)), bytes);
    });

    it("gets large bytes back whole", async (t) => {
      const socket = await connectClient(t);
      const bytes = Buffer.alloc(300_000, "switchboard");
      assert.deepEqual(Buffer.from((await echoed(socket, bytes))[0]), bytes);
    });

    it("hears a thousand events in the order in which it sent them", async (t) => {
      const socket = await connectClient(t);
      const numbers = [];
      socket.on("events", (number) => numbers.push(number));
      for (let number = 0; number < 1_000; number++) socket.emit("events", number);
      await until("all thousand are back", () => numbers.length >= 1_000, 15_000);
      assert.deepEqual(numbers, Array.from({ length: 1_000 }, (_, number) => number));
    });

    it("gets a thousand acks, each for its own event", async (t) => {
      const socket = await connectClient(t);
      const answers = await Promise.all(Array.from({ length: 1_000 }, (_, number) => ack(socket, "events", number)));
      assert.deepEqual(answers, Array.from({ length: 1_000 }, (_, number) => number));
    });
  });
}

describe("a client that starts with polling", () => {
  it("loses nothing of what it sends while it is being upgraded", async (t) => {
    const socket = await connect(t, server, { transports: ["polling", "websocket"] });
    const { sent, answered } = await echoedWhileUpgrading(socket);
    assert.deepEqual(answered, sent);
  });
});

describe("clients on different transports", () => {
  it("hear each other in a room", async (t) => {
    const sockets = await Promise.all(Object.values(clients).map((connectClient) => connectClient(t)));
    for (const socket of sockets) assert.deepEqual(await ack(socket, "join", "public:mixed"), { ok: true, room: "public:mixed" });
    for (const speaker of sockets) {
      const others = sockets.filter((socket) => socket !== speaker);
      const all = Promise.all(others.map((socket) => heard(socket, "message")));
      await ack(speaker, "publish", { room: "public:mixed", data: "hi" });
      for (const [message] of await all) assert.deepEqual(message, { room: "public:mixed", from: null, data: "hi" });
    }
  });
});

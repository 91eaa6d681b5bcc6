// What a program asks of a whole cluster through the library, told to the example that does so on
// request: Node.js understands every kind of message that we send, and we understand its answers.

import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";

import { io as connect } from "socket.io-client";

import { nodeFor } from "./nodes.mjs";
import { redisFor } from "./redis.mjs";
import { exampleForThisFile } from "./server.mjs";
import { DEADLINE, until, within } from "./waiting.mjs";

/** The story, with servers of its own, in one of the formats; once for each test file. */
export async function asks(adapter) {
  const redis = await redisFor();
  const node = await nodeFor(undefined, { redis: redis.url, adapter });
  const example = await exampleForThisFile("cluster_node", { REDIS_URL: redis.url, PROTOCOL: adapter });

  describe(`questions to a cluster in the ${adapter} format`, () => {
    let ours, theirs, asker;

    before(async () => {
      asker = await client(example.url);
      ours = await client(example.url);
      theirs = await client(node.url);
      // Our node serves the namespace from its first socket on.
      const counted = adapter === "classic" ? "socket.io-request#/#" : "socket.io#/#";
      await until("both servers are counted", async () => (await redis.listeners(counted, { sharded: adapter === "sharded" })) === 2, 15_000);
    });

    after(() => [asker, ours, theirs].forEach((socket) => socket?.close()));

    const ask = (event, request = {}) => within(DEADLINE, event, asker.emitWithAck(event, request));
    const roomsOf = (socket) => ask("fetch", { room: socket.id }).then(({ sockets }) => sockets[0]?.rooms ?? []);

    it("sockets of every server are found, with their rooms", async () => {
      const { sockets, missing } = await ask("fetch");
      assert.equal(missing, 0);
      assert.deepEqual(sockets.map(({ id }) => id).sort(), [asker.id, ours.id, theirs.id].sort());
      const found = sockets.find(({ id }) => id === theirs.id);
      assert.deepEqual(found.rooms, [theirs.id]);
      assert.equal(found.handshake.auth.who, "theirs");
    });

    it("sockets of every server are moved into rooms and out of them", async () => {
      for (const socket of [ours, theirs]) assert.equal(await ask("move", { room: socket.id, rooms: ["moved"] }), true);
      for (const socket of [ours, theirs]) await until("it has joined", async () => (await roomsOf(socket)).includes("moved"));
      const heard = [ours, theirs].map((socket) => new Promise((done) => socket.once("news", done)));
      await ask("emit", { room: "moved", except: asker.id, event: "news", data: { n: 1.5, text: "é" } });
      assert.deepEqual(await within(DEADLINE, "news", Promise.all(heard)), [{ n: 1.5, text: "é" }, { n: 1.5, text: "é" }]);
      await ask("remove", { room: "moved", rooms: ["moved"] });
      for (const socket of [ours, theirs]) await until("it has left", async () => !(await roomsOf(socket)).includes("moved"));
    });

    it("clients of every server acknowledge, and are counted", async () => {
      for (const [socket, name] of [[ours, "ours"], [theirs, "theirs"]]) socket.once("what", (data, ack) => ack({ name, data }));
      const { acks, expected } = await ask("ask", { except: asker.id, event: "what", data: 7 });
      assert.equal(expected, 2);
      assert.deepEqual(acks.sort((a, b) => a.name.localeCompare(b.name)), [{ name: "ours", data: 7 }, { name: "theirs", data: 7 }]);
    });

    it("servers are told and asked, in both directions", async () => {
      await node.run((io) => {
        io.on("told", (data) => (globalThis.told = data));
        io.on("question", (data, answer) => answer({ from: "node", data }));
      });
      await ask("tell servers", { event: "told", data: [1, { a: null }] });
      await until("the server was told", async () => (await node.run(() => globalThis.told)) !== undefined);
      assert.deepEqual(await node.run(() => globalThis.told), [1, { a: null }]);
      assert.deepEqual(await ask("ask servers", { event: "question", data: "?" }), { answers: [{ from: "node", data: "?" }], silent: [], missing: 0 });
      assert.deepEqual(await node.run((io) => io.serverSideEmitWithAck("hey", 5)), [{ heard: 5 }]);
    });

    it("sockets of every server are disconnected, and the Node.js server lives", async () => {
      const gone = [ours, theirs].map((socket) => new Promise((done) => socket.once("disconnect", done)));
      for (const socket of [ours, theirs]) await ask("kick", { room: socket.id, close: true });
      assert.deepEqual(await within(DEADLINE, "both are gone", Promise.all(gone)), ["io server disconnect", "io server disconnect"]);
      assert.deepEqual((await ask("fetch")).sockets.map(({ id }) => id), [asker.id]);
      assert.equal(node.ended, undefined);
    });

    async function client(url) {
      const socket = connect(url, { transports: ["websocket"], forceNew: true, reconnection: false, auth: { who: url === node.url ? "theirs" : "ours" } });
      await within(DEADLINE, "the connection", new Promise((done, fail) => socket.once("connect", done).once("connect_error", fail)));
      return socket;
    }
  });
}

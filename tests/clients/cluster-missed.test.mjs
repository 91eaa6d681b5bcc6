// A link between the nodes breaks and is back. Clients that may have missed something are cut off, so
// that they know; those who cannot have stay.

import assert from "node:assert/strict";
import { describe, it } from "node:test";

import { Emitter } from "@socket.io/redis-emitter";
import { createClient } from "redis";

import { ack, connect, heard } from "./support/clients.mjs";
import { network } from "./support/proxies.mjs";
import { redisFor } from "./support/redis.mjs";
import { nodeFor } from "./support/nodes.mjs";
import { serverFor } from "./support/server.mjs";
import { until } from "./support/waiting.mjs";

/** A client in a room that comes back by itself; `ends` has the reason of each end. */
async function memberOf(t, server, room) {
  const socket = await connect(t, server, { reconnection: true, reconnectionDelay: 100, reconnectionDelayMax: 200 });
  socket.ends = [];
  socket.on("disconnect", (reason) => socket.ends.push(reason));
  const join = async () => assert.equal((await ack(socket, "join", room)).room, (socket.room = room));
  await join();
  // It may be cut off before it has joined.
  socket.on("connect", () => join().catch(() => {}));
  socket.on("disconnect", () => delete socket.room);
  return socket;
}

/** Waits until the client is cut off, and back. */
async function assertCut(socket) {
  await until("it is cut off, comes back and joins its room", () => socket.ends.length && socket.room, 15_000);
  // As the official client calls an end that the server did not ask for.
  assert.match(socket.ends.join(), /^transport (close|error)$/);
}

/** Nodes at one Redis; each says what it does about gaps. */
async function nodes(t, redis, protocol, names, config = {}) {
  const servers = {};
  for (const name of names) {
    servers[name] = await serverFor(t, { node_id: name, log: { level: "debug" }, redis: { url: redis.url, protocol, ...config } });
  }
  return servers;
}

/** Closes the connection of the node that came last, and returns when what followed from it is done. */
async function interrupt(redis, server) {
  const list = (await redis.text("CLIENT", "LIST")).split("\n").map((line) => Object.fromEntries(line.split(" ").map((pair) => pair.split("="))));
  // One that listens to a single channel only sees whether the address leads where it did.
  const listens = list.filter(({ sub, ssub }) => Number(sub) + Number(ssub) > 1);
  const id = Math.max(...listens.map(({ id }) => Number(id)));
  const mark = server.logs.length;
  await redis.cli("CLIENT", "KILL", "ID", id);
  return until("the node is through with it", () => server.logs.slice(mark).includes("nobody has missed anything that is not known by now"), 30_000);
}

/** A message of another node reaches the client: it was not cut, and hears. */
async function assertThere(sender, socket, room) {
  const arrived = heard(socket, "still there");
  assert.deepEqual(await ack(sender, "publish", { room, event: "still there", data: null }), { ok: true });
  await arrived;
  assert.deepEqual(socket.ends, []);
}

describe("a link that was lost and is back", { concurrency: 3 }, () => {
  for (const protocol of ["classic", "sharded"]) {
    it(`those in a room in which another node has spoken are cut, ${protocol}`, { timeout: 120_000 }, async (t) => {
      const redis = await redisFor(t);
      const { a, b } = await nodes(t, redis, protocol, ["a", "b"]);
      const [here, there] = [await memberOf(t, a, "public:loud"), await memberOf(t, b, "public:loud")];
      const [quietHere, quiet] = [await memberOf(t, a, "public:quiet"), await memberOf(t, b, "public:quiet")];
      await assertThere(here, there, "public:loud");
      await interrupt(redis, b);
      await assertCut(there);
      await interrupt(redis, b);
      await assertThere(quietHere, quiet, "public:quiet");
    });

    it(`a node that is alone cuts nobody, ${protocol}`, { timeout: 120_000 }, async (t) => {
      const redis = await redisFor(t);
      const { a } = await nodes(t, redis, protocol, ["a"]);
      const [one, other] = [await memberOf(t, a, "public:room"), await memberOf(t, a, "public:room")];
      await assertThere(one, other, "public:room");
      await interrupt(redis, a);
      await interrupt(redis, a);
      await assertThere(one, other, "public:room");
      await assertThere(other, one, "public:room");
    });

    it(`beside a Node.js server all are cut, and it minds nothing, ${protocol}`, { timeout: 120_000 }, async (t) => {
      const redis = await redisFor(t);
      const theirs = await nodeFor(t, { redis: redis.url, adapter: protocol });
      const { a, b } = await nodes(t, redis, protocol, ["a", "b"]);
      const [sender, one, other] = [await memberOf(t, theirs, "public:loud"), await memberOf(t, b, "public:loud"), await memberOf(t, b, "public:quiet")];
      await assertThere(sender, one, "public:loud");
      await interrupt(redis, b);
      for (const socket of [one, other]) await assertCut(socket);
      assert.equal(theirs.ended, undefined);
      assert.equal(theirs.logs, "");
      const asked = await theirs.run((io) => io.serverSideEmitWithAck("anything"));
      assert.equal(asked.length, 2, "each of ours has answered, once");
      assert.doesNotMatch(a.logs + b.logs, /makes no sense/);
    });

    it(`with redis.missed = "ignore" nobody is cut, ${protocol}`, { timeout: 120_000 }, async (t) => {
      const redis = await redisFor(t);
      const { a, b } = await nodes(t, redis, protocol, ["a", "b"], { missed: "ignore" });
      const [here, there] = [await memberOf(t, a, "public:loud"), await memberOf(t, b, "public:loud")];
      await assertThere(here, there, "public:loud");
      await interrupt(redis, b);
      await assertThere(here, there, "public:loud");
      await assertThere(there, here, "public:loud");
    });
  }

  it("with streams a node reads what it has missed, and cuts only where the stream has lost it", { timeout: 120_000 }, async (t) => {
    const redis = await redisFor(t);
    const way = await network(t, redis.port);
    const { a } = await nodes(t, redis, "streams", ["a"]);
    const { b } = await nodes(t, { url: `redis://127.0.0.1:${way.port}` }, "streams", ["b"], { silence_timeout: "2s", request_timeout: "2s" });
    const [here, there] = [await memberOf(t, a, "public:loud"), await memberOf(t, b, "public:loud")];
    const [quietHere, quiet] = [await memberOf(t, a, "public:quiet"), await memberOf(t, b, "public:quiet")];
    await assertThere(here, there, "public:loud");
    const inbox = [];
    there.on("said", ({ data }) => inbox.push(data));
    const outage = async (meanwhile) => {
      const mark = b.logs.length;
      way.stall();
      await until("the node has noticed", () => /link to Redis is down.*link="frames"/.test(b.logs.slice(mark)));
      await meanwhile();
      way.flow();
      await until("the node is back", () => /link to Redis is back.*link="frames"/.test(b.logs.slice(mark)), 15_000);
    };
    const say = async (number) => assert.deepEqual(await ack(here, "publish", { room: "public:loud", event: "said", data: number }), { ok: true });

    await outage(async () => { for (const number of [1, 2, 3]) await say(number); });
    await until("all of it has come", () => inbox.length === 3);
    await assertThere(here, there, "public:loud");
    assert.deepEqual(inbox, [1, 2, 3]);

    await outage(async () => {
      await say(4);
      await until("it is in the stream", async () => (await redis.text("XREVRANGE", "socket.io", "+", "-", "COUNT", "1")).includes('"data":4'));
      await redis.cli("XTRIM", "socket.io", "MAXLEN", "0");
    });
    await assertCut(there);
    await assertThere(quietHere, quiet, "public:quiet");
    assert.equal(b.logs.match(/messages of other nodes in a stream may be missing/g).length, 1);
    assert.doesNotMatch(a.logs, /may be missing/);
  });

  it("where an emitter was heard all are cut", { timeout: 120_000 }, async (t) => {
    const redis = await redisFor(t);
    const { b } = await nodes(t, redis, "classic", ["b"]);
    const [one, other] = [await memberOf(t, b, "public:loud"), await memberOf(t, b, "public:quiet")];
    const client = createClient({ url: redis.url });
    client.on("error", () => {});
    t.after(() => client.destroy());
    await client.connect();
    const said = heard(one, "said");
    new Emitter(client).to("public:loud").emit("said", 1);
    assert.deepEqual(await said, [1]);
    await interrupt(redis, b);
    for (const socket of [one, other]) await assertCut(socket);
  });

  it("one line says how many, and a metric counts them", { timeout: 120_000 }, async (t) => {
    const redis = await redisFor(t);
    const { a } = await nodes(t, redis, "classic", ["a"]);
    const b = await serverFor(t, { node_id: "b", log: { level: "debug" }, admin_listen: "127.0.0.1:0", redis: { url: redis.url } });
    const here = await memberOf(t, a, "public:loud");
    const there = await Promise.all([1, 2, 3].map(() => memberOf(t, b, "public:loud")));
    await assertThere(here, there[0], "public:loud");
    await interrupt(redis, b);
    await Promise.all(there.map(assertCut));
    assert.equal(b.logs.match(/clients may have missed messages of other nodes; .*clients=3/g).length, 1);
    const [, admin] = /listening for administration address=(\S+)/.exec(b.logs);
    const metrics = await (await fetch(`http://${admin}/metrics`)).text();
    assert.match(metrics, /^switchboard_connections_cut_total\{reason="missed"\} 3$/m);
  });
});

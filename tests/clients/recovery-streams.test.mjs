// Recovery over Redis streams: a client leaves one node and goes on at another one, whichever of ours it is, or a
// Node.js server with the official adapter. Nothing is missed, nothing is heard twice, and there is one socket.

import assert from "node:assert/strict";
import { describe, it } from "node:test";

import { io } from "socket.io-client";

import { TRANSPORTS, ack, connected, disconnected } from "./support/clients.mjs";
import { Cluster } from "./support/cluster.mjs";
import { cutOff, network } from "./support/proxies.mjs";
import { redisFor } from "./support/redis.mjs";
import { freePorts, serverFor } from "./support/server.mjs";
import { SECRET, token } from "./support/tokens.mjs";
import { until } from "./support/waiting.mjs";

const config = { engine: { ping_interval: "30s", ping_timeout: "30s" }, recovery: { enabled: true }, log: { level: "debug" } };
const nodes = { n: { io: { connectionStateRecovery: { maxDisconnectionDuration: 120_000, skipMiddlewares: true } } } };
const cluster = await Cluster.start(undefined, { protocol: "streams", ours: ["a", "b"], nodes, config });
const { n } = cluster.servers;
await n.run((io) => {
  io.on("connection", (socket) => {
    socket.on("join", (room, done) => void (socket.join(room), done()));
    socket.on("whoami", (done) => done({ id: socket.id, rooms: [...socket.rooms], recovered: socket.recovered }));
  });
});

/** Emits from the Node.js server, whose events are anybody's. */
const emit = (number, room) => n.run((io, number, room) => void (room ? io.to(room) : io).emit("news", number), number, room);

/** A client of the node `at`, and what it hears. Another node is reached by setting `way.target`. */
async function client(t, at, { transports = ["websocket"], auth = {} } = {}) {
  const way = await network(t, at.port);
  const socket = io(way.url, { forceNew: true, reconnection: false, transports, auth });
  t.after(() => socket.close());
  const numbers = [];
  socket.on("news", (number) => numbers.push(number));
  await connected(socket);
  return { socket, way, numbers, id: socket.id };
}

/** Loses the connection, and comes back to the node `to` after `meanwhile`. */
async function move(made, to, meanwhile = () => {}, how = "reset") {
  await cutOff(made.way, made.socket, how);
  await meanwhile();
  made.way.target = to.port;
  await connected(made.socket.connect());
}

const isTheSame = (made) => assert.deepEqual({ recovered: made.socket.recovered, id: made.socket.id }, { recovered: true, id: made.id });
const isNew = (made) => assert.ok(!made.socket.recovered && made.socket.id !== made.id);
const hears = async (made, ...numbers) => {
  await until(() => `${JSON.stringify(numbers)} and not ${JSON.stringify(made.numbers)}`, () => made.numbers.length >= numbers.length);
  assert.deepEqual(made.numbers, numbers);
};
const socketsOf = (room) => n.run(async (io, room) => (await io.in(room).fetchSockets()).length, room);
/** What is in Redis of a session, or null. */
const record = async (pid) => {
  const value = await cluster.redis.cli("GET", `sio:session:${pid}`);
  return value && Buffer.from(value, "base64");
};
/** A node of this cluster for one test. */
const another = (t, node_id, more = {}) => serverFor(t, { ...cluster.config, ...more, node_id });

describe("over Redis streams a client goes on", () => {
  for (const [way, transports] of Object.entries(TRANSPORTS)) {
    it(`at another node, in its rooms, and back: ${way}`, async (t) => {
      const { a, b } = cluster.servers;
      const made = await client(t, a, { transports, auth: { token: await token("alice") } });
      await ack(made.socket, "join", "public:room");
      const before = await ack(made.socket, "whoami");
      await emit(0, "public:room");
      await hears(made, 0);
      for (const [to, number] of [[b, 1], [a, 4], [b, 7]]) {
        await move(made, to, async () => {
          await emit(number, "public:room");
          await emit(-1, "public:another");
          await emit(number + 1, "user:alice");
        });
        isTheSame(made);
        await emit(number + 2);
      }
      await hears(made, ...Array(10).keys());
      const after = await ack(made.socket, "whoami");
      assert.deepEqual({ ...after, rooms: after.rooms.sort() }, { ...before, node: "b", rooms: before.rooms.sort() });
      assert.equal(await socketsOf(made.id), 1);
    });
  }

  it("at another node, though the one that it has left does not know it yet", async (t) => {
    const { a, b } = cluster.servers;
    const made = await client(t, a);
    await move(made, b, () => emit(0), "half open");
    isTheSame(made);
    await emit(1);
    await hears(made, 0, 1);
    assert.equal(await socketsOf(made.id), 1);
  });

  it("as the only socket that its user may have", async (t) => {
    const users = { users: { max_sockets: 1, over_limit: "reject" } };
    const [a, b] = [await another(t, "one-a", users), await another(t, "one-b", users)];
    const made = await client(t, a, { auth: { token: await token("solo") } });
    for (const [to, how] of [[b, "half open"], [a, "reset"], [b, "half open"], [a, "half open"]]) {
      await move(made, to, undefined, how);
      isTheSame(made);
    }
  });

  it("when its node is killed, and leaves what the server has taken it out of meanwhile", async (t) => {
    const doomed = await another(t, "doomed");
    const made = await client(t, doomed);
    await ack(made.socket, "join", "public:one");
    await ack(made.socket, "join", "public:two");
    await emit(0, "public:two");
    await hears(made, 0);
    // Who has heard that it has joined has joined for whatever comes.
    const gone = disconnected(made.socket);
    await doomed.kill();
    await gone;
    await emit(1, "public:one");
    await n.run((io) => void io.in("public:one").socketsLeave("public:one"));
    await n.run((io) => void io.in("public:two").socketsJoin("public:three"));
    for (const [number, room] of [[-1, "public:one"], [2, "public:two"], [3, "public:three"]]) await emit(number, room);
    made.way.target = cluster.servers.b.port;
    await connected(made.socket.connect());
    isTheSame(made);
    for (const [number, room] of [[-2, "public:one"], [4, "public:three"]]) await emit(number, room);
    await hears(made, 0, 1, 2, 3, 4);
  });

  it("when its node stands still, which has lost it when it goes on", async (t) => {
    const still = await another(t, "still");
    const made = await client(t, still);
    await emit(0);
    await hears(made, 0);
    still.signal("SIGSTOP");
    t.after(() => still.signal("SIGCONT"));
    await move(made, cluster.servers.b, () => emit(1), "half open");
    isTheSame(made);
    await emit(2);
    still.signal("SIGCONT");
    await emit(3);
    await hears(made, 0, 1, 2, 3);
    await until("there is one socket", async () => (await socketsOf(made.id)) === 1);
  });

  it("when its node is drained", async (t) => {
    const leaving = await another(t, "leaving");
    const made = await client(t, leaving);
    await emit(0);
    await hears(made, 0);
    const gone = disconnected(made.socket);
    const ended = leaving.stop();
    await gone;
    await emit(1);
    await ended;
    made.way.target = cluster.servers.a.port;
    await connected(made.socket.connect());
    isTheSame(made);
    await emit(2);
    await hears(made, 0, 1, 2);
  });

  for (const [from, to] of [["n", "a"], ["a", "n"]]) {
    it(`from ${from} to ${to}, of which one is a Node.js server, and back`, async (t) => {
      const [first, second] = [cluster.servers[from], cluster.servers[to]];
      const made = await client(t, first);
      await ack(made.socket, "join", "public:room");
      await emit(0, "public:room");
      await hears(made, 0);
      for (const [node, number] of [[second, 1], [first, 4], [second, 7]]) {
        // A Node.js server has a session when it has noticed the loss, and tells nobody.
        const isKept = async () => (await record(made.socket._pid)) !== null;
        await move(made, node, async () => {
          await emit(number, "public:room");
          await emit(number + 1);
          await until("the session is in Redis", isKept);
          await until("its socket has gone", async () => (await socketsOf(made.id)) === 0);
        });
        isTheSame(made);
        await emit(number + 2, "public:room");
        await until("it has heard that", () => made.numbers.at(-1) === number + 2);
      }
      await hears(made, ...Array(10).keys());
      assert.ok((await ack(made.socket, "whoami")).rooms.includes("public:room"));
    });
  }
});

describe("over Redis streams nobody goes on", () => {
  for (const [who, auth] of [["another user", async () => ({ token: await token("mallory") })], ["nobody", async () => ({})]]) {
    it(`with the session of a user, who comes as ${who}; and the user still has it`, async (t) => {
      const { a, b } = cluster.servers;
      const made = await client(t, a, { auth: { token: await token("frank") } });
      await emit(0, "user:frank");
      await hears(made, 0);
      const { _pid: pid, _lastOffset: offset } = made.socket;
      const thief = io(b.url, { forceNew: true, reconnection: false, transports: ["websocket"], auth: { ...(await auth()), pid, offset } });
      t.after(() => thief.close());
      await connected(thief);
      assert.notEqual(thief.id, made.id);
      assert.ok(made.socket.connected, "nobody has cut it");
      await move(made, b, () => emit(1, "user:frank"));
      isTheSame(made);
      await hears(made, 0, 1);
    });
  }

  it("whose user the server has disconnected after its node was killed", async (t) => {
    const doomed = await another(t, "doomed2");
    const made = await client(t, doomed, { auth: { token: await token("erin") } });
    await emit(0);
    await hears(made, 0);
    await until("the session is in Redis", async () => (await record(made.socket._pid)) !== null);
    const gone = disconnected(made.socket);
    await doomed.kill();
    await gone;
    await n.run((io) => void io.in("user:erin").disconnectSockets());
    made.way.target = cluster.servers.b.port;
    await connected(made.socket.connect());
    isNew(made);
  });

  it("who has said good-bye, at any node", async (t) => {
    const { a, b } = cluster.servers;
    const made = await client(t, a);
    await emit(0);
    await hears(made, 0);
    const pid = made.socket._pid;
    made.socket.disconnect();
    await until("it is not in Redis", async () => (await record(pid)) === null);
    made.way.target = b.port;
    await connected(made.socket.connect());
    isNew(made);
  });
});

describe("while Redis takes no events", () => {
  it("who is there hears them; who was away is new, and who hears one with a place recovers again", async (t) => {
    const redis = await redisFor(t);
    const [admin] = await freePorts(1);
    const node = await serverFor(t, { ...cluster.config, admin_listen: `127.0.0.1:${admin}`, redis: { url: redis.url, protocol: "streams", pending_age: "1s", silence_timeout: "30s" } });
    const say = (number) => fetch(`http://127.0.0.1:${admin}/api/v1/emit`, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify({ all: true, event: "news", args: [number] }) });
    const [there, away] = [await client(t, node), await client(t, node)];
    await say(0);
    for (const made of [there, away]) await hears(made, 0);
    const gone = disconnected(away.socket);
    away.way.cut();
    await gone;
    await until("the node knows", async () => node.logs.includes("socket disconnected"));
    redis.pause();
    t.after(() => redis.resume());
    say(1).catch(() => {}); // it says afterwards whether Redis has taken it
    await hears(there, 0, 1);
    redis.resume();
    await connected(away.socket.connect());
    isNew(away);
    // Nobody knows whether the event has a place, so nobody goes on from before it.
    await move(there, node);
    isNew(there);
    there.id = there.socket.id;
    await until("events have places again", async () => (await say(2)).ok && there.numbers.at(-1) === 2);
    await move(there, node, () => say(3));
    isTheSame(there);
    await until("it has heard the last", () => there.numbers.at(-1) === 3);
    assert.deepEqual(there.numbers.filter((number) => number !== 2), [0, 1, 3]);
  });
});

describe("what a program does over Redis streams", () => {
  it("happens in the order of the calls: last words come before the end", async (t) => {
    const { a } = cluster.servers;
    const made = await client(t, a);
    const gone = disconnected(made.socket);
    await n.run((io, id) => {
      io.to(id).emit("news", 1);
      io.to(id).emit("news", 2);
      io.in(id).disconnectSockets();
    }, made.id);
    assert.equal(await gone, "io server disconnect");
    await hears(made, 1, 2);
  });
});

// Rooms and users of a cluster where it is easy to be almost right: members that come and go, limits
// that hold across nodes, clients of every kind, and clusters that share a Redis.

import assert from "node:assert/strict";
import { describe, it } from "node:test";

import { Inbox, TRANSPORTS, ack, connect, connectV2, connectWith, disconnected, heard, open, connected } from "./support/clients.mjs";
import { Cluster } from "./support/cluster.mjs";
import { redisFor } from "./support/redis.mjs";
import { runBinary, serverFor } from "./support/server.mjs";
import { aRoom } from "./support/story.mjs";
import { SECRET, token } from "./support/tokens.mjs";
import { until } from "./support/waiting.mjs";

for (const protocol of ["classic", "sharded"]) {
  describe(`rooms, ${protocol}`, async () => {
    const cluster = await Cluster.start(undefined, { protocol, nodes: { n: {} } });
    const { a, n } = cluster.servers;

    it("who has been told that it is in a room misses nothing from then on, however often it comes and goes", { timeout: 120_000 }, async (t) => {
      const crew = await cluster.crew(t);
      const rooms = Array.from({ length: 8 }, aRoom);
      const end = performance.now() + 3_000; // long enough for empty rooms to be given up in between
      let number = 0;
      while (performance.now() < end) {
        for (const room of rooms) await ack(crew.a, "join", room);
        await n.run((io, rooms, number) => rooms.forEach((room) => io.to(room).emit("says", number, room)), rooms, number);
        assert.deepEqual(await crew.heard("n"), { a: rooms.map((room) => ["says", number, room]) }, `round ${number}`);
        for (const room of rooms) await ack(crew.a, "leave", room);
        number++;
      }
      t.diagnostic(`${number} rounds`);
      await until("nobody listens to the rooms", async () => (await Promise.all(rooms.map((room) => cluster.redis.listeners(`socket.io#/#${room}#`, cluster)))).every((count) => count === 0));
    });

    it("who is connected hears from the first moment what is sent to its user and to its id", { timeout: 120_000 }, async (t) => {
      for (let number = 0; number < 40; number++) {
        const user = `newcomer-${number}`;
        let inbox;
        const socket = await connect(t, a, { auth: { token: await token(user) }, onOpen: (socket) => (inbox = new Inbox(socket)) });
        await n.run((io, user, id) => {
          io.to(`user:${user}`).emit("says", "user");
          io.to(id).emit("says", "id");
        }, user, socket.id);
        await until("both are there", () => inbox.of("says").length === 2);
        socket.close();
      }
    });

    it("a burst arrives whole and in order, from either kind of server", { timeout: 120_000 }, async (t) => {
      const crew = await cluster.crew(t);
      const [room, count] = [aRoom(), 2_000];
      await crew.join(room, "a", "b", "n");
      const numbers = Array.from({ length: count }, (_, number) => number);
      await n.run((io, room, count) => {
        for (let number = 0; number < count; number++) io.to(room).emit("says", { data: number }, "x".repeat(500));
      }, room, count);
      const fromNode = await crew.heard("n");
      for (const number of numbers) crew.a.emit("publish", { room, event: "says", data: number, pad: "x".repeat(500) });
      const fromOurs = await crew.heard("a");
      const order = (events) => events.map(([, { data }]) => data);
      for (const name of ["a", "b", "n"]) assert.deepEqual(order(fromNode[name]), numbers, `${name} hears Node.js`);
      for (const name of ["b", "n"]) assert.deepEqual(order(fromOurs[name]), numbers, `${name} hears Switchboard`);
    });

    it("a room is heard of as long as one member is left, and given up with the last", async (t) => {
      const [room, crew] = [aRoom(), await cluster.crew(t, { a2: {} })];
      const listeners = () => cluster.redis.listeners(`socket.io#/#${room}#`, cluster);
      await crew.join(room, "a", "a2");
      assert.equal(await listeners(), 1);
      crew.a2.close();
      await until("it has left", async () => (await n.run(async (io, room) => (await io.in(room).fetchSockets()).length, room)) === 1);
      const says = heard(crew.a, "says");
      await n.run((io, room) => void io.to(room).emit("says", 1), room);
      assert.deepEqual(await says, [1]);
      assert.equal(await listeners(), 1);
      crew.a.close();
      await until("the room is given up", async () => (await listeners()) === 0);
    });

    it("a client on any transport, and an old one, hears what Node.js sends", async (t) => {
      const room = aRoom();
      const sockets = [await connectV2(t, a)];
      for (const transports of Object.values(TRANSPORTS)) sockets.push(await connect(t, a, { transports }));
      for (const socket of sockets) await ack(socket, "join", room);
      const all = Promise.all(sockets.map((socket) => heard(socket, "says", () => true)));
      await n.run((io, room) => void io.to(room).emit("says", { bytes: [Buffer.from([1, 2])] }, "text", 1.5), room);
      for (const args of await all) assert.deepEqual(args, [{ bytes: [Buffer.from([1, 2])] }, "text", 1.5]);
    });

    // As when an application cuts a text after so many units: half an emoji is what is left of it. What
    // becomes of the half is not promised (Node.js writes another character), but the rest arrives.
    it("text that was cut in the middle of a character arrives, from Node.js and from a user's tab", async (t) => {
      const auth = { token: await token("cutter") };
      const crew = await cluster.crew(t, { a: { auth }, b: { auth }, n: { auth: { rooms: ["user:cutter"] } } });
      await cluster.listened("user:cutter", ["a", "b", "n"]);
      await n.run((io) => void io.emit("says", "cut \ud83c", 1));
      const fromNode = await crew.heard("n");
      crew.a.emit("events", "cut \ud83c", 1);
      const fromOurs = await crew.heard("a");
      for (const name of crew.names) {
        for (const heard of [fromNode, fromOurs]) {
          assert.equal(heard[name]?.length, 1, name);
          const [, text, number] = heard[name][0];
          assert.ok(text.startsWith("cut ") && number === 1, `${name} hears ${JSON.stringify(text)}`);
        }
      }
    });

    it("text that was cut in the middle of a character may be published", async (t) => {
      const crew = await cluster.crew(t);
      assert.deepEqual(await crew.publish("n", "public:all", "cut \ud83c"), { ok: true });
      assert.deepEqual(await crew.publish("a", "public:all", "cut \ud83c"), { ok: true });
    });

    it("megabytes arrive whole", async (t) => {
      const crew = await cluster.crew(t);
      const bytes = Buffer.alloc(3_000_000, "0123456789");
      await n.run((io, bytes) => void io.emit("says", bytes, bytes.toString()), bytes);
      const heard = await crew.heard("n");
      for (const name of crew.names) {
        assert.equal(heard[name].length, 1);
        assert.ok(bytes.equals(heard[name][0][1]) && bytes.toString() === heard[name][0][2], name);
      }
    });

    it("rooms may have any name", async (t) => {
      // A token may allow what the configuration does not.
      const any = { auth: { token: await token("ann", { may_join: ["*"] }) } };
      const crew = await cluster.crew(t, { a: any, b: any });
      // One of 20 characters looks to Node.js as the id of a socket.
      for (const room of ["a#b", "#", "##", "*", "[x]", "a?b\\", "ünï 🎉", "x".repeat(20), "z".repeat(200), " ", "a b", "42", "socket.io#/#"]) {
        await crew.join(room, "a", "b", "n");
        await n.run((io, room) => void io.to(room).emit("says", room), room);
        assert.deepEqual(await crew.heard("n"), Object.fromEntries(["a", "b", "n"].map((name) => [name, [["says", room]]])), room);
        await crew.publish("a", room, 1);
        assert.deepEqual(await crew.heard("a"), Object.fromEntries(["b", "n"].map((name) => [name, [["says", { room, from: "ann", data: 1 }]]])), room);
      }
    });

    it("many sockets of many users come and go, and the directory is empty afterwards", { timeout: 120_000 }, async (t) => {
      const tokens = await Promise.all(Array.from({ length: 10 }, (_, user) => token(`user-${user}`)));
      const before = await cluster.redis.listedSockets();
      const sockets = await Promise.all(Array.from({ length: 200 }, (_, number) =>
        connectWith(t, cluster.servers[number % 2 ? "a" : "b"], tokens[number % 10])));
      await until("all are listed", async () => (await cluster.redis.listedSockets()) === before + 200);
      // Each user has 20 tabs on two nodes: the others hear what one of them sends.
      const others = sockets.filter((_, number) => number % 10 === 3);
      const all = Promise.all(others.map((socket) => heard(socket, "events")));
      others[0].emit("events", "to all tabs");
      assert.equal((await all).length, 20);
      sockets.forEach((socket, number) => (number % 3 ? socket.close() : socket.io.engine.transport.ws._socket.destroy()));
      await until("none is listed", async () => (await cluster.redis.listedSockets()) === before);
    });
  });
}

describe("a user's number of sockets is limited in the whole cluster", async () => {
  const limited = (t, over_limit) => Cluster.start(t, { config: { users: { max_sockets: 5, over_limit } } });

  it("of many that come at once to both nodes exactly as many get in as may", async (t) => {
    const { servers: { a, b } } = await limited(t, "reject");
    const auth = { token: await token("alice") };
    for (let round = 0; round < 5; round++) {
      const crowd = Array.from({ length: 30 }, (_, number) => open(number % 2 ? a : b, { auth }));
      t.after(() => crowd.forEach((socket) => socket.close()));
      const outcomes = await Promise.allSettled(crowd.map((socket) => connected(socket)));
      const refused = outcomes.filter(({ status }) => status === "rejected");
      for (const { reason } of refused) assert.match(reason.message, /^too_many_sockets/);
      assert.equal(outcomes.length - refused.length, 5, `round ${round}`);
      crowd.forEach((socket) => socket.close());
      // One more may come only when the server has noticed that the crowd has left.
      await until("all have left", async () => {
        const probe = await Promise.allSettled(Array.from({ length: 5 }, () => connect(t, a, { auth })));
        probe.forEach(({ value }) => value?.close());
        return probe.every(({ status }) => status === "fulfilled");
      });
      await until("the probes have left", () => connect(t, b, { auth }).then((socket) => socket.close() && true, () => false));
    }
  });

  it("the oldest goes for good, on whatever node it is", async (t) => {
    const { servers: { a, b } } = await limited(t, "disconnect_oldest");
    const alice = await token("alice");
    const tabs = [];
    for (let number = 0; number < 5; number++) tabs.push(await connectWith(t, number % 2 ? a : b, alice));
    for (const [number, oldest] of [...tabs].entries()) {
      const gone = disconnected(oldest);
      tabs.push(await connectWith(t, number % 2 ? b : a, alice));
      assert.equal(await gone, "io server disconnect");
    }
    for (const tab of tabs.slice(5)) assert.equal((await ack(tab, "whoami")).user, "alice");
  });
});

describe("clusters that share a Redis", () => {
  it("hear nothing of each other when their prefixes differ", async (t) => {
    for (const protocol of ["classic", "sharded"]) {
      const redis = await redisFor(t);
      const config = (key_prefix) => ({ auth: { hs256_secret: SECRET }, redis: { url: redis.url, protocol, key_prefix } });
      const inboxes = {};
      for (const prefix of ["one", "two", "one#/"]) inboxes[prefix] = new Inbox(await connect(t, await serverFor(t, config(prefix))));
      for (const prefix of Object.keys(inboxes)) {
        const { code, stderr } = await runBinary(["emit", "--all", "says", JSON.stringify(prefix)], { config: config(prefix) });
        assert.equal(code, 0, stderr);
      }
      for (const [prefix, inbox] of Object.entries(inboxes)) {
        await until(`${prefix} hears its own`, () => inbox.of("says").length);
        assert.deepEqual(inbox.of("says"), [[prefix]]);
      }
    }
  });

  it("work together whatever each node subscribes to", async (t) => {
    const cluster = await Cluster.start(t, { ours: ["a"], nodes: { n: {} } });
    cluster.servers.b = await serverFor(t, { ...cluster.config, node_id: "b", redis: { ...cluster.config.redis, subscribe: "all" } });
    await cluster.complete(3);
    const crew = await cluster.crew(t);
    const room = aRoom();
    await crew.join(room, "a", "b", "n");
    for (const sender of ["a", "b", "n"]) {
      await crew.publish(sender, room, 1);
      const others = ["a", "b", "n"].filter((name) => name !== sender);
      assert.deepEqual(await crew.heard(sender), Object.fromEntries(others.map((name) => [name, [["says", { room, from: null, data: 1 }]]])));
    }
  });
});

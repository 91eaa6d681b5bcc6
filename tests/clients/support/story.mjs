// What users of Socket.IO expect of a cluster, told with Switchboard and Node.js nodes side by side.
// Switchboard's are `a` and `b`, those of Node.js `n` and `m`; each has one client, see `Crew`.

import assert from "node:assert/strict";
import { it } from "node:test";

import { ack, disconnected } from "./clients.mjs";
import { Cluster } from "./cluster.mjs";
import { token } from "./tokens.mjs";
import { until } from "./waiting.mjs";

let rooms = 0;
/** A room of which no other test knows. */
export const aRoom = () => `public:room-${++rooms}`;

/** Everything that JSON and MessagePack write differently, as a function to be run anywhere. */
export const difficult = () => [
  [0, -1, 255, 256, 65_536, 2 ** 31, 2 ** 32, -(2 ** 31) - 1, 2 ** 53 - 1, -(2 ** 53) + 1, 0.1, -1.5, 5e-324, 1.5e-300],
  ["", "äöü", "🎉", "\u0000", "\u2028", "a\"b\\c", "x".repeat(300), "ü".repeat(40_000)],
  { null: null, true: true, nested: { list: [[], {}, [[1]]] }, "": "empty", "ключ": 1, __proto__x: 2 },
  [NaN, Infinity, undefined, new Date(1_700_000_000_123), new Date(0)],
];

/** The answer of every client of the crew to `question`: its name. */
function answering(crew) {
  for (const name of crew.names) crew[name].on("question", (...args) => args.at(-1)(name));
}

/** Tells the story to the cluster of the `options`; returns it for more. */
export async function story(options) {
  const cluster = await Cluster.start(undefined, options);
  const { servers: { n, m }, ours, nodes } = cluster;
  const everybody = [...ours, ...nodes];
  const all = (event) => Object.fromEntries(everybody.map((name) => [name, [event]]));
  const only = (names, event) => Object.fromEntries(names.map((name) => [name, [event]]));

  it("a Node.js broadcast reaches every client once", async (t) => {
    const crew = await cluster.crew(t);
    await n.run((io) => void io.emit("says", "hello", 2));
    assert.deepEqual(await crew.heard("n"), all(["says", "hello", 2]));
    await n.run((io) => void io.volatile.compress(false).emit("says", "flags"));
    assert.deepEqual(await crew.heard("n"), all(["says", "flags"]));
    await n.run((io) => void io.local.emit("says", "between us"));
    assert.deepEqual(await crew.heard("n"), only(["n"], ["says", "between us"]));
  });

  it("a Node.js emit to rooms reaches their members once, whatever the number of rooms", async (t) => {
    const crew = await cluster.crew(t);
    const [one, two] = [aRoom(), aRoom()];
    await crew.join(one, "a", "n");
    await crew.join(two, "a", "b", "m");
    await n.run((io, one) => void io.to(one).emit("says", 1), one);
    assert.deepEqual(await crew.heard("n"), only(["a", "n"], ["says", 1]));
    await n.run((io, rooms) => void io.to(rooms).emit("says", 2), [one, two]);
    assert.deepEqual(await crew.heard("n"), all(["says", 2]));
    await n.run((io, one, two) => void io.to(two).except(one).emit("says", 3), one, two);
    assert.deepEqual(await crew.heard("n"), only(["b", "m"], ["says", 3]));
    await n.run((io, ids) => void io.except(ids).emit("says", 4), crew.ids("a", "n"));
    assert.deepEqual(await crew.heard("n"), only(["b", "m"], ["says", 4]));
    await n.run((io) => void io.to("public:nobody").emit("says", 5));
    assert.deepEqual(await crew.heard("n"), {});
  });

  it("who has left a room hears of it no more, wherever it was", async (t) => {
    const crew = await cluster.crew(t);
    const room = aRoom();
    await crew.join(room, ...everybody);
    for (const name of ["a", "m"]) await ack(crew[name], "leave", room);
    await n.run((io, room) => void io.to(room).emit("says", 1), room);
    assert.deepEqual(await crew.heard("n"), only(["b", "n"], ["says", 1]));
  });

  it("io.to(id) reaches that one socket on every server", async (t) => {
    const crew = await cluster.crew(t);
    for (const name of everybody) {
      await n.run((io, id) => void io.to(id).emit("says", "to you"), crew[name].id);
      assert.deepEqual(await crew.heard("n"), only([name], ["says", "to you"]));
    }
  });

  it("what Switchboard's client publishes reaches the other members of the room once", async (t) => {
    const crew = await cluster.crew(t, { a: { auth: { token: await token("alice") } } });
    const room = aRoom();
    await crew.join(room, "a", "b", "n");
    await crew.publish("a", room, { text: "hi" });
    assert.deepEqual(await crew.heard("a"), only(["b", "n"], ["says", { room, from: "alice", data: { text: "hi" } }]));
    await crew.publish("b", room, null);
    assert.deepEqual(await crew.heard("b"), only(["a", "n"], ["says", { room, from: null, data: null }]));
  });

  it("what a Node.js client sends to a room reaches the other members once", async (t) => {
    const crew = await cluster.crew(t);
    const room = aRoom();
    await crew.join(room, "a", "b", "n", "m");
    await crew.publish("n", room, [1, 2]);
    assert.deepEqual(await crew.heard("n"), only(["a", "b", "m"], ["says", { room, from: null, data: [1, 2] }]));
  });

  it("a user's events reach Node.js sockets that the application has put in its room", async (t) => {
    const auth = { token: await token("carol") };
    const crew = await cluster.crew(t, { a: { auth }, b: { auth }, n: { auth: { rooms: ["user:carol"] } } });
    await cluster.listened("user:carol", ["a", "b", "n"]);
    await ack(crew.a, "events", "to my tabs", Buffer.from([1]));
    assert.deepEqual(await crew.heard("a"), only(["a", "b", "n"], ["events", "to my tabs", Buffer.from([1])]));
  });

  it("numbers, text, dates and nothing at all arrive as from one Node.js server to another", async (t) => {
    const crew = await cluster.crew(t);
    await n.run((io, make) => void io.emit("says", ...new Function(`return (${make})()`)()), difficult.toString());
    const heard = await crew.heard("n");
    // The other Node.js node is the measure: its adapter has decoded the same frame.
    for (const name of everybody) assert.deepEqual(heard[name], heard.m, name);
    assert.deepEqual(heard.a[0].slice(1), JSON.parse(JSON.stringify(difficult())));
  });

  it("bytes arrive as bytes, however deep, beside dates and in order", async (t) => {
    const crew = await cluster.crew(t);
    await n.run((io) => {
      const large = Buffer.alloc(70_000, 7);
      io.emit("says", Buffer.from([1, 2]), { deep: [{ bytes: new Uint8Array([3]) }, Buffer.alloc(0)] }, new Date(5), large, 2 ** 40);
    });
    const heard = await crew.heard("n");
    const expected = ["says", Buffer.from([1, 2]), { deep: [{ bytes: Buffer.from([3]) }, Buffer.alloc(0)] }, new Date(5).toISOString(), Buffer.alloc(70_000, 7), 2 ** 40];
    assert.deepEqual(heard, all(expected));
  });

  it("Switchboard's clients send all that is difficult to Node.js, bytes included", async (t) => {
    const crew = await cluster.crew(t);
    const room = aRoom();
    await crew.join(room, ...everybody);
    // Beyond 64 bits the encoder of Node.js is wrong, so only Switchboard is asked to send these.
    const data = { huge: [1e21, 1e300, -1e25], values: difficult(), bytes: [Buffer.from([0, 255]), { deep: Buffer.alloc(70_000, 9) }] };
    await crew.publish("a", room, data);
    const [values, { huge, bytes }] = [JSON.parse(JSON.stringify(difficult())), data];
    assert.deepEqual(await crew.heard("a"), only(["b", "n", "m"], ["says", { room, from: null, data: { huge, values, bytes } }]));
    await crew.publish("a", room, difficult());
    assert.deepEqual(await crew.heard("a"), only(["b", "n", "m"], ["says", { room, from: null, data: values }]));
  });

  it("what one server sends to a room arrives in the order of the calls", async (t) => {
    const crew = await cluster.crew(t);
    const [room, count] = [aRoom(), 500];
    await crew.join(room, "a", "b", "n", "m");
    const numbers = Array.from({ length: count }, (_, number) => number);
    await n.run((io, room, count) => {
      for (let number = 0; number < count; number++) io.to(room).emit("says", number);
    }, room, count);
    const fromNode = await crew.heard("n");
    for (const name of everybody) assert.deepEqual(fromNode[name].map(([, number]) => number), numbers, name);
    for (const number of numbers) crew.a.emit("publish", { room, event: "says", data: number });
    const fromOurs = await crew.heard("a");
    for (const name of ["b", "n", "m"]) assert.deepEqual(fromOurs[name].map(([, { data }]) => data), numbers, name);
  });

  it("acknowledgements are collected from every client, exactly, and before the time is up", async (t) => {
    const crew = await cluster.crew(t, { a2: {}, a3: {}, b2: {}, n2: {} });
    answering(crew);
    for (const node of [n, m]) {
      const answers = await node.run((io) => io.timeout(10_000).emitWithAck("question", 1));
      assert.deepEqual(answers.sort(), [...crew.names].sort());
    }
    const room = aRoom();
    await crew.join(room, "a", "a2", "b", "n");
    assert.deepEqual((await n.run((io, room) => io.timeout(10_000).to(room).emitWithAck("question"), room)).sort(), ["a", "a2", "b", "n"]);
    assert.deepEqual(await n.run((io, id) => io.timeout(10_000).to(id).emitWithAck("question"), crew.b.id), ["b"]);
    assert.deepEqual(await n.run((io) => io.timeout(10_000).to("public:nobody").emitWithAck("question")), []);
  });

  it("acknowledgements of any value arrive, and only a client that is silent is missing", async (t) => {
    const crew = await cluster.crew(t);
    const answers = { a: [{ deep: [Buffer.from([1, 2])] }], b: [], n: [null], m: ["m", "and more"] };
    for (const name of everybody) crew[name].on("any", (ack) => ack(...answers[name]));
    const got = await n.run((io) => io.timeout(10_000).emitWithAck("any"));
    assert.equal(got.length, 4);
    for (const value of [{ deep: [Buffer.from([1, 2])] }, null, "m"]) {
      assert.ok(got.some((answer) => JSON.stringify(answer) === JSON.stringify(value)), JSON.stringify([value, got]));
    }
    for (const name of ["a", "m"]) crew[name].on("who is there", (ack) => ack(name));
    const error = await n.run((io) => io.timeout(2_000).emitWithAck("who is there")).catch((error) => error);
    assert.match(error.message, /timed out/);
    assert.deepEqual(error.responses.sort(), ["a", "m"]);
  });

  it("fetchSockets shows every socket with its rooms and handshake, and no token", async (t) => {
    const secret = await token("dora");
    const crew = await cluster.crew(t, {
      a: { auth: { token: secret, theme: "dark" } }, a2: { query: { token: secret, page: "7" } }, b: { extraHeaders: { authorization: `Bearer ${secret}` } },
    });
    const room = aRoom();
    await crew.join(room, "a", "b", "n");
    const fetch = (node, room) => node.run(async (io, room) => {
      const sockets = await (room ? io.in(room) : io).fetchSockets();
      return sockets.map(({ id, rooms, handshake, data }) => ({ id, rooms: [...rooms].sort(), handshake: { ...handshake }, data }));
    }, room);
    for (const node of [n, m]) {
      const found = await fetch(node);
      assert.deepEqual(found.map(({ id }) => id).sort(), crew.ids(...crew.names).sort());
      assert.ok(!JSON.stringify(found).includes(secret.split(".")[2]), "no token leaves the server");
      const a = found.find(({ id }) => id === crew.a.id);
      assert.deepEqual(a.rooms, ["authenticated", "public:all", room, "user:dora", crew.a.id].sort());
      const { headers, time, address, issued, url, query, auth, secure, xdomain } = a.handshake;
      assert.equal(typeof headers, "object");
      assert.ok(!Number.isNaN(Date.parse(time)), time);
      assert.match(address, /127\.0\.0\.1/);
      assert.ok(Math.abs(Date.now() - issued) < 60_000, String(issued));
      assert.match(url, /^\/socket\.io\/\?/);
      assert.equal(query.EIO, "4");
      assert.equal(auth.theme, "dark");
      assert.deepEqual([secure, xdomain], [false, false]);
      assert.equal(found.find(({ id }) => id === crew.a2.id).handshake.query.page, "7");
      assert.deepEqual((await fetch(node, room)).map(({ id }) => id).sort(), crew.ids("a", "b", "n").sort());
      assert.deepEqual((await fetch(node, crew.b.id)).map(({ id }) => id), [crew.b.id]);
      assert.deepEqual(await fetch(node, "public:nobody"), []);
    }
  });

  it("a Node.js server has every socket in its hands: emit, ask, join, leave, disconnect", async (t) => {
    const crew = await cluster.crew(t);
    answering(crew);
    const room = aRoom();
    // What `fetchSockets` gives stands for the socket, wherever it is.
    const handle = (id, script, ...args) => n.run(async (io, id, script, args) => {
      const [socket] = await io.in(id).fetchSockets();
      return new Function(`return (${script})`)()(socket, ...args);
    }, id, script.toString(), args);
    for (const name of everybody) {
      const { id } = crew[name];
      await handle(id, (socket) => void socket.emit("says", "to you"));
      assert.deepEqual(await crew.heard("n"), only([name], ["says", "to you"]));
      await handle(id, (socket, room) => void socket.join(room), room);
      const inRoom = async () => (await ack(crew[name], "whoami")).rooms.includes(room);
      await until(`${name} has joined`, inRoom);
      await handle(id, (socket, room) => void socket.leave(room), room);
      await until(`${name} has left`, async () => !(await inRoom()));
    }
    for (const name of everybody) {
      const { id } = crew[name];
      assert.equal(await handle(id, (socket) => socket.timeout(10_000).emitWithAck("question")), name);
      const gone = disconnected(crew[name]);
      await handle(id, (socket) => void socket.disconnect());
      assert.equal(await gone, "io server disconnect");
    }
  });

  it("a room that is a number in Node.js has the members that it was given", async (t) => {
    const crew = await cluster.crew(t);
    const room = 1_000 + ++rooms;
    await n.run((io, ids, room) => void io.in(ids).socketsJoin(room), crew.ids("a", "n"), room);
    const members = () => n.run(async (io, room) => (await io.in(room).fetchSockets()).filter(({ rooms }) => rooms.has(room)).length, room);
    await until("the room has members", async () => (await members()) === 2);
    await cluster.listened(room, ["a", "n"]);
    await n.run((io, room) => void io.to(room).emit("says", 1), room);
    assert.deepEqual(await crew.heard("n"), only(["a", "n"], ["says", 1]));
    await n.run((io, room) => void io.except(room).emit("says", 2), room);
    assert.deepEqual(await crew.heard("n"), only(["b", "m"], ["says", 2]));
  });

  it("socketsJoin and socketsLeave act on sockets of every server", async (t) => {
    const crew = await cluster.crew(t);
    const room = aRoom();
    await n.run((io, ids, room) => void io.in(ids).socketsJoin([room, `${room}+`]), crew.ids("a", "b", "m"), room);
    await until("they are in the room", async () => {
      const answers = await Promise.all(["a", "b", "m"].map((name) => ack(crew[name], "whoami")));
      return answers.every(({ rooms }) => rooms.includes(room) && rooms.includes(`${room}+`));
    });
    await cluster.listened(room, ["a", "b", "m"]);
    await n.run((io, room) => void io.to(room).emit("says", "in"), room);
    assert.deepEqual(await crew.heard("n"), only(["a", "b", "m"], ["says", "in"]));
    await n.run((io, room, id) => void io.in(room).except(id).socketsLeave(room), room, crew.b.id);
    await until("two have left", async () => !(await ack(crew.a, "whoami")).rooms.includes(room) && !(await ack(crew.m, "whoami")).rooms.includes(room));
    await n.run((io, room) => void io.to(room).emit("says", "out"), room);
    assert.deepEqual(await crew.heard("n"), only(["b"], ["says", "out"]));
  });

  it("what belongs to the server is not taken from a socket by socketsLeave", async (t) => {
    const crew = await cluster.crew(t, { a: { auth: { token: await token("erin") } } });
    await n.run((io, id) => void io.in(id).socketsLeave(["user:erin", "authenticated", "public:all"]), crew.a.id);
    await until("the leave has come", async () => !(await ack(crew.a, "whoami")).rooms.includes("public:all"));
    const { rooms } = await ack(crew.a, "whoami");
    assert.ok(rooms.includes("user:erin") && rooms.includes("authenticated") && rooms.includes(crew.a.id), String(rooms));
  });

  for (const close of [false, true]) {
    it(`disconnectSockets(${close}) ends sockets of every server for good, and no others`, async (t) => {
      const crew = await cluster.crew(t, { a2: {}, b2: {} });
      const room = aRoom();
      await crew.join(room, "a", "b", "m");
      const gone = ["a", "b", "m"].map((name) => disconnected(crew[name]));
      await n.run((io, room, close) => void io.in(room).disconnectSockets(close), room, close);
      assert.deepEqual(await Promise.all(gone), Array(3).fill("io server disconnect"));
      for (const name of ["a2", "b2", "n"]) assert.ok((await ack(crew[name], "whoami")).socket);
    });
  }

  it("serverSideEmit reaches the Node.js servers that listen, and harms nobody", async (t) => {
    const crew = await cluster.crew(t);
    await m.run((io) => {
      globalThis.said = [];
      io.on("news", (...args) => globalThis.said.push(args));
      io.on("ask", (question, ack) => ack(`m: ${question}`));
    });
    await n.run((io) => void io.serverSideEmit("news", 1, { two: 2 }));
    await until("m has the news", () => m.run(() => globalThis.said.length));
    assert.deepEqual(await m.run(() => globalThis.said), [[1, { two: 2 }]]);
    // Ours do not know the question, and say so by an answer without a value.
    const answers = await n.run((io) => io.serverSideEmitWithAck("ask", "who?"));
    assert.equal(answers.length, everybody.length - 1);
    assert.deepEqual(answers.filter((answer) => answer), ["m: who?"]);
    await n.run((io) => void io.emit("says", "after it"));
    assert.deepEqual(await crew.heard("n"), all(["says", "after it"]));
  });

  it("every server counts every other, and hears of its rooms", async (t) => {
    const crew = await cluster.crew(t);
    for (const node of [n, m]) assert.equal(await node.run((io) => io.of("/").adapter.serverCount()), everybody.length);
    if (cluster.protocol !== "classic") return; // the other adapters have no such question
    const room = aRoom();
    await crew.join(room, "b");
    const found = await n.run(async (io) => [...(await io.of("/").adapter.allRooms())]);
    for (const name of [room, ...crew.ids(...everybody)]) assert.ok(found.includes(name), name);
  });

  return cluster;
}

/** The end of each story: every Node.js server lives, and delivers. To be told last. */
export function andTheyLivedOn(cluster) {
  it("after all that each Node.js server still serves, and has nothing to complain of", async (t) => {
    const crew = await cluster.crew(t);
    for (const name of cluster.nodes) {
      const server = cluster.servers[name];
      await server.run((io, name) => void io.emit("says", name), name);
      const expected = Object.fromEntries(crew.names.map((each) => [each, [["says", name]]]));
      assert.deepEqual(await crew.heard(name), expected);
      assert.equal(server.ended, undefined);
      assert.doesNotMatch(server.logs, /error|exception|reject/i);
    }
    for (const name of cluster.ours) assert.doesNotMatch(cluster.servers[name].logs, /ERROR|panic/, name);
  });

  it("after all that no Switchboard node has warned of anything", () => {
    for (const name of cluster.ours) assert.doesNotMatch(cluster.servers[name].logs, /WARN/, name);
  });
}

// What users expect of an emitter beside a cluster of both kinds of servers, told after `story`.

import assert from "node:assert/strict";
import { it } from "node:test";

import { createClient } from "redis";

import { ack, disconnected } from "./clients.mjs";
import { aRoom, difficult } from "./story.mjs";
import { until } from "./waiting.mjs";

/**
 * The emitter of programs that are no servers, made of a connection by `Emitter`. Each of its
 * methods reaches both kinds of servers.
 */
export async function emitterStory(cluster, Emitter) {
  const everybody = Object.keys(cluster.servers);
  const only = (names, event) => Object.fromEntries(names.map((name) => [name, [event]]));
  const all = (event) => only(everybody, event);

  async function emitterOf(t) {
    const client = await createClient({ url: cluster.redis.url }).on("error", () => {}).connect();
    t.after(() => client.destroy());
    // The marks of `heard` come by another connection: they are sent when Redis has what came by this.
    return { emitter: new Emitter(client), taken: () => client.ping() };
  }

  it("the emitter's events reach every client once, with all flags", async (t) => {
    const [crew, { emitter, taken }] = [await cluster.crew(t), await emitterOf(t)];
    const sends = [
      (...args) => emitter.emit("says", ...args),
      (...args) => emitter.volatile.emit("says", ...args),
      (...args) => emitter.compress(true).emit("says", ...args),
      (...args) => emitter.of("/").emit("says", ...args),
    ];
    for (const [number, send] of sends.entries()) {
      send(number, { bytes: [Buffer.from([number])] }, difficult()[0]);
      await taken();
      assert.deepEqual(await crew.heard(), all(["says", number, { bytes: [Buffer.from([number])] }, difficult()[0]]));
    }
  });

  it("the emitter's events to rooms reach their members once", async (t) => {
    const [crew, { emitter, taken }] = [await cluster.crew(t), await emitterOf(t)];
    const [one, two] = [aRoom(), aRoom()];
    await crew.join(one, "a", "n");
    await crew.join(two, "a", "b", "m");
    const cases = [
      [() => emitter.to(one), ["a", "n"]],
      [() => emitter.in(one), ["a", "n"]],
      [() => emitter.to([one, two]), everybody],
      [() => emitter.to(one).to(two), everybody],
      [() => emitter.to(two).except(one), ["b", "m"]],
      [() => emitter.except([one, crew.b.id]), ["m"]],
      [() => emitter.to(crew.b.id), ["b"]],
      [() => emitter.to(crew.n.id), ["n"]],
      [() => emitter.to("public:nobody"), []],
    ];
    for (const [number, [target, names]] of cases.entries()) {
      target().emit("says", number);
      await taken();
      assert.deepEqual(await crew.heard(), only(names, ["says", number]), `case ${number}`);
    }
  });

  it("the emitter lets sockets join, leave and go", async (t) => {
    const [crew, { emitter, taken }] = [await cluster.crew(t, { a2: {} }), await emitterOf(t)];
    const room = aRoom();
    const inRoom = async (...names) => {
      const answers = await Promise.all(["a", "b", "m", "n"].map(async (name) => [name, (await ack(crew[name], "whoami")).rooms]));
      return answers.filter(([, rooms]) => rooms.includes(room)).map(([name]) => name).join() === names.join();
    };
    emitter.in(crew.ids("a", "b", "m")).socketsJoin(room);
    await until("three have joined", () => inRoom("a", "b", "m"));
    await cluster.listened(room, ["a", "b", "m"]);
    emitter.to(room).emit("says", "to three");
    await taken();
    assert.deepEqual(await crew.heard(), only(["a", "b", "m"], ["says", "to three"]));
    emitter.in(room).except(crew.m.id).socketsLeave([room]);
    await until("two have left", () => inRoom("m"));
    emitter.socketsJoin(room);
    await until("all have joined", () => inRoom("a", "b", "m", "n"));
    const gone = ["a", "m"].map((name) => disconnected(crew[name]));
    emitter.in(crew.ids("a", "m")).disconnectSockets();
    assert.deepEqual(await Promise.all(gone), Array(2).fill("io server disconnect"));
    const closed = disconnected(crew.b);
    emitter.in(crew.b.id).disconnectSockets(true);
    await closed; // what the client is told of it, says the story
    for (const name of ["a2", "n"]) assert.ok((await ack(crew[name], "whoami")).socket);
  });

  it("the emitter's serverSideEmit reaches the Node.js servers, and harms nobody", async (t) => {
    const [crew, { emitter, taken }] = [await cluster.crew(t), await emitterOf(t)];
    await cluster.servers.n.run((io) => {
      globalThis.told = [];
      io.on("from outside", (...args) => globalThis.told.push(args));
    });
    emitter.serverSideEmit("from outside", 1, "two");
    await until("n has heard it", () => cluster.servers.n.run(() => globalThis.told.length));
    assert.deepEqual(await cluster.servers.n.run(() => globalThis.told), [[1, "two"]]);
    emitter.emit("says", "after it");
    await taken();
    assert.deepEqual(await crew.heard(), all(["says", "after it"]));
  });
}

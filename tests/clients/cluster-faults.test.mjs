// Redis and the way to it fail. Delivery within a node never notices; between nodes it comes back by
// itself. How long that takes is printed.

import assert from "node:assert/strict";
import { describe, it } from "node:test";

import { connect, connectWith } from "./support/clients.mjs";
import { Cluster } from "./support/cluster.mjs";
import { network } from "./support/proxies.mjs";
import { redisFor } from "./support/redis.mjs";
import { serverFor } from "./support/server.mjs";
import { SECRET, token } from "./support/tokens.mjs";
import { Stream } from "./support/steady.mjs";
import { until } from "./support/waiting.mjs";

/** A way within a node takes longer than this only if it waits for Redis, which has 2 s to answer. */
const AT_ONCE = 1_500;

const readiness = async (server) => {
  const response = await server.get("/readyz");
  return { status: response.status, reasons: (await response.json()).reasons };
};

/** Waits until the server says that it is ready, or that its link is down; how long it took. */
async function says(server, ready, deadline = 15_000) {
  const start = performance.now();
  await until(`readyz turns ${ready ? 200 : 503}`, async () => {
    const { status, reasons } = await readiness(server);
    // Which of the connections is the first to be lost, nobody knows, nor whether each has lost it for the same reason.
    if (!ready && status === 503) for (const reason of reasons) assert.match(reason, /^(redis link down( for commands)?|user directory): \S/);
    return status === (ready ? 200 : 503);
  }, deadline);
  return Math.round(performance.now() - start);
}

const lines = (server, what) => server.logs.split("\n").filter((line) => what.test(line));

/** Each of the two links of a node has said once that it is down, and once that it is back. */
async function assertSaidOnce(server, since) {
  const said = (what) => lines({ logs: server.logs.slice(since) }, what);
  await until("both links say that they are back", () => said(/link to Redis is back/).length >= 2);
  for (const link of ["frames", "commands"]) {
    for (const change of ["is down", "is back"]) {
      assert.equal(said(new RegExp(`the link to Redis ${change}.*link="${link}"`)).length, 1, server.logs.slice(since));
    }
  }
  assert.ok(said(/./).length <= 10, `few words about it:\n${server.logs.slice(since)}`);
}

/** Who may have missed something is cut off and comes back. */
const COMES_BACK = { reconnection: true, reconnectionDelay: 50, reconnectionDelayMax: 100 };

/**
 * Two nodes, each with a client that has a token and guests; a stream from the one to all others, and one
 * back. Who hears nothing but the own node has missed nothing, whatever happens between the nodes.
 */
async function scene(t, cluster) {
  const [alice, bob] = [await token("alice"), await token("bob")];
  const { a, b } = cluster.servers;
  const sender = await connectWith(t, a, alice);
  const listeners = { local: await connect(t, a), remote: await connectWith(t, b, bob, COMES_BACK) };
  const back = { sender: await connect(t, b), listener: await connect(t, a, COMES_BACK) };
  const stream = await Stream.start(t, sender, listeners);
  const returning = await Stream.start(t, back.sender, { remote: back.listener, local: await connect(t, b) });
  await Promise.all([stream.flows("remote"), returning.flows("remote")]);
  let listed;
  await until(() => `both users are listed, and not ${listed}`, async () => (listed = await cluster.redis.listedSockets()) === 2);
  return { stream, returning };
}

/** The scene with a node that reaches Redis by a network of its own, and one that reaches it as usual. */
async function nodesApart(t, protocol) {
  const redis = await redisFor(t);
  const way = await network(t, redis.port);
  const config = (port) => ({ auth: { hs256_secret: SECRET }, redis: { url: `redis://127.0.0.1:${port}`, protocol } });
  const a = await serverFor(t, { ...config(way.port), node_id: "a" });
  const b = await serverFor(t, { ...config(redis.port), node_id: "b" });
  return { redis, way, a, b, streams: await scene(t, { redis, servers: { a, b } }) };
}

/**
 * Both streams flow again to the other node, and to the own one nothing was lost. Returns how many of each
 * did not reach the other node.
 */
async function assertHealed(t, { stream, returning }, since) {
  await Promise.all([stream.flows("remote", 20_000), returning.flows("remote", 20_000)]);
  t.diagnostic(`delivery between the nodes is back after ${Math.round(performance.now() - since)} ms`);
  for (const each of [stream, returning]) {
    await until("whoever has missed something was cut off and is back", () => each.missedWhileOpen("remote") === 0, 30_000);
  }
  t.diagnostic(`whoever has missed something is back after ${Math.round(performance.now() - since)} ms`);
  const lost = [];
  for (const each of [stream, returning]) {
    await each.stop();
    const longest = await each.assertWhole("local");
    const missing = await each.missing("remote");
    lost.push(missing);
    t.diagnostic(`within the node the longest way took ${longest} ms; ${missing} did not reach the other node`);
    assert.ok(longest < AT_ONCE, `${longest} ms`);
  }
  return lost;
}

for (const protocol of ["classic", "sharded", "streams"]) {
  describe(`faults, ${protocol}`, { concurrency: 3 }, () => {
    for (const keeps of [true, false]) {
      it(`Redis is killed and comes back ${keeps ? "with" : "without"} its data`, { timeout: 120_000 }, async (t) => {
        const cluster = await Cluster.start(t, { protocol });
        const redis = await redisFor(t, { keeps });
        const servers = {};
        for (const name of ["a", "b"]) servers[name] = await serverFor(t, { ...cluster.config, node_id: name, redis: { url: redis.url, protocol } });
        const target = { redis, servers };
        const streams = await scene(t, target);
        const marks = Object.values(servers).map((server) => server.logs.length);

        await redis.kill({ forgets: !keeps });
        const down = await Promise.all(Object.values(servers).map((server) => says(server, false)));
        t.diagnostic(`the nodes notice after ${down} ms`);
        // Who comes during the outage is served, with a token and without.
        for (const server of Object.values(servers)) {
          const start = performance.now();
          await connectWith(t, server, await token("late"));
          t.diagnostic(`a client with a token got in after ${Math.round(performance.now() - start)} ms`);
        }
        await streams.stream.flows("local");

        await redis.start();
        const since = performance.now();
        const lost = await assertHealed(t, streams, since);
        if (protocol === "streams" && keeps) assert.deepEqual(lost, [0, 0], "what was in the stream is there, and the rest has waited");
        await Promise.all(Object.values(servers).map((server) => says(server, true)));
        await until("every user is listed again, those who came in between too", async () => (await redis.listedSockets()) === 4, 20_000);
        t.diagnostic(`the directory is complete again after ${Math.round(performance.now() - since)} ms`);
        for (const [number, server] of Object.values(servers).entries()) await assertSaidOnce(server, marks[number]);
      });
    }

    it("Redis is stopped for 5 s, and nothing is lost", { timeout: 120_000 }, async (t) => {
      const cluster = await Cluster.start(t, { protocol });
      const { stream, returning } = await scene(t, cluster);
      const marks = Object.values(cluster.servers).map((server) => server.logs.length);
      const resumed = performance.now() + 5_000;
      cluster.redis.pause();
      t.after(() => cluster.redis.resume());
      await until("5 s have passed", () => performance.now() > resumed, 10_000);
      cluster.redis.resume();
      for (const each of [stream, returning]) {
        await each.flows("remote", 20_000);
        await each.stop();
        for (const name of ["local", "remote"]) await each.assertWhole(name);
      }
      for (const [number, server] of Object.values(cluster.servers).entries()) assert.doesNotMatch(server.logs.slice(marks[number]), /link to Redis is down/);
    });

    it("Redis is stopped for longer than it is waited for, and goes on", { timeout: 120_000 }, async (t) => {
      const cluster = await Cluster.start(t, { protocol, config: { redis: { request_timeout: "2s", silence_timeout: "2s" } } });
      const { a, b } = cluster.servers;
      const streams = await scene(t, cluster);
      const marks = [a, b].map((server) => server.logs.length);
      const resumed = performance.now() + 8_000;
      cluster.redis.pause();
      t.after(() => cluster.redis.resume());
      const down = await Promise.all([a, b].map((server) => says(server, false)));
      t.diagnostic(`the nodes notice after ${down} ms`);
      const start = performance.now();
      await connect(t, a);
      await connectWith(t, a, await token("late"));
      t.diagnostic(`a guest and a client with a token got in after ${Math.round(performance.now() - start)} ms`);
      await until("8 s have passed", () => performance.now() > resumed, 10_000);
      await streams.stream.flows("local", AT_ONCE);
      cluster.redis.resume();
      const since = performance.now();
      const lost = await assertHealed(t, streams, since);
      if (protocol === "streams") assert.deepEqual(lost, [0, 0], "also what was sent and not answered");
      await Promise.all([a, b].map((server) => says(server, true)));
      await until("every user is listed", async () => (await cluster.redis.listedSockets()) === 3, 20_000);
      for (const [number, server] of [a, b].entries()) await assertSaidOnce(server, marks[number]);
    });

    it("a node's way to Redis swallows everything for 20 s, and nobody tells it", { timeout: 180_000 }, async (t) => {
      const { redis, way, a, b, streams } = await nodesApart(t, protocol);
      const mark = a.logs.length;
      const over = performance.now() + 20_000;
      way.stall();
      t.diagnostic(`the node notices after ${await says(a, false)} ms`);
      const start = performance.now();
      await connectWith(t, a, await token("late"));
      t.diagnostic(`a client with a token got in after ${Math.round(performance.now() - start)} ms`);
      assert.deepEqual(await readiness(b), { status: 200, reasons: undefined }, "the other node does not mind");
      // Its lease is over after 15 s: for the others its users are gone, and it does not know.
      await until("the others have given the node up", async () => (await redis.listedSockets()) === 1, 25_000);
      await until("20 s have passed", () => performance.now() > over, 20_000);
      way.flow();
      const since = performance.now();
      const [, lost] = await assertHealed(t, streams, since);
      if (protocol === "streams") assert.equal(lost, 0, "the node catches up; what it said itself was too old");
      await says(a, true);
      await until("its users are listed again", async () => (await redis.listedSockets()) === 3, 20_000);
      t.diagnostic(`the directory is complete again after ${Math.round(performance.now() - since)} ms`);
      await assertSaidOnce(a, mark);
    });

    it("Redis closes one kind of connection, and loses its memory and its scripts", { timeout: 120_000 }, async (t) => {
      const cluster = await Cluster.start(t, { protocol });
      const { a, b } = cluster.servers;
      const { stream, returning } = await scene(t, cluster);
      const flow = async (what) => {
        const since = performance.now();
        await Promise.all([stream.flows("remote"), returning.flows("remote")]);
        t.diagnostic(`${what}: delivery is back after ${Math.round(performance.now() - since)} ms`);
      };
      for (const type of ["pubsub", "normal"]) {
        const marks = [a, b].map((server) => server.logs.length);
        await cluster.redis.cli("CLIENT", "KILL", "TYPE", type);
        await until("the nodes notice", () => [a, b].every((server, at) => /is down/.test(server.logs.slice(marks[at]))));
        await Promise.all([a, b].map((server) => says(server, true)));
        await flow(`connections of the type ${type} are killed`);
      }
      for (const command of [["FLUSHALL"], ["SCRIPT", "FLUSH"]]) {
        await cluster.redis.cli(...command);
        const since = performance.now();
        // Somebody new is listed at once, those who were forgotten when their nodes notice.
        await connectWith(t, a, await token("new"));
        await until("every user is listed", async () => (await cluster.redis.listedSockets()) === (command[0] === "FLUSHALL" ? 3 : 4), 20_000);
        t.diagnostic(`${command.join(" ")}: the directory is complete again after ${Math.round(performance.now() - since)} ms`);
      }
      await flow("after all");
      for (const each of [stream, returning]) {
        await each.stop();
        t.diagnostic(`within the node the longest way took ${await each.assertWhole("local")} ms; ${each.assertOrdered("remote")} did not reach the other node`);
      }
    });

    it("a node's connections to Redis are reset", { timeout: 120_000 }, async (t) => {
      const { way, a, streams } = await nodesApart(t, protocol);
      const mark = a.logs.length;
      way.cut();
      await until("the node has noticed", () => lines({ logs: a.logs.slice(mark) }, /is down/).length >= 2);
      const lost = await assertHealed(t, streams, performance.now());
      if (protocol === "streams") assert.deepEqual(lost, [0, 0]);
      await says(a, true);
      await assertSaidOnce(a, mark);
    });
  });
}

// No client whose connection stays open has missed anything, however bad the day: a node that stands still
// while its backlog is in flight, and one that dies while another cannot hear it.

import assert from "node:assert/strict";
import { it } from "node:test";

import { ack } from "../clients/support/clients.mjs";
import { network } from "../clients/support/proxies.mjs";
import { redisFor } from "../clients/support/redis.mjs";
import { serverFor } from "../clients/support/server.mjs";
import { Stream } from "../clients/support/steady.mjs";
import { until } from "../clients/support/waiting.mjs";
import { lastingFor } from "./redis.mjs";

const CLIENTS = 10;

/** Clients of a server by name, and one that nobody speaks to. */
async function audienceFor(t, server) {
  const quiet = await lastingFor(t, server);
  await ack(quiet, "join", "public:quiet");
  const listeners = {};
  for (let number = 0; number < CLIENTS; number++) listeners[`client ${number}`] = await lastingFor(t, server);
  return { quiet, listeners };
}

/** Stops a server until something has happened. */
async function stopUntil(t, server, what, condition) {
  server.signal("SIGSTOP");
  t.after(() => server.signal("SIGCONT"));
  await until(what, condition, 40_000);
  server.signal("SIGCONT");
}

/** A stream from one node to clients of another, which is stopped meanwhile. Redis is 100 ms away from both. */
async function scene(t, { protocol, missed = "disconnect", args = [] }) {
  const redis = await redisFor(t, { args });
  const way = await network(t, redis.port, { delay: 100 });
  const config = (node_id) => ({ node_id, redis: { url: `redis://127.0.0.1:${way.port}`, protocol, silence_timeout: "3s", missed } });
  const [a, b] = [await serverFor(t, config("a")), await serverFor(t, config("b"))];
  const { quiet, listeners } = await audienceFor(t, b);
  const stream = await Stream.start(t, await lastingFor(t, a), listeners, { every: 2 });
  const names = Object.keys(listeners);
  return {
    redis, a, b, quiet, listeners, stream,
    flow: () => Promise.all(names.map((name) => stream.flows(name, 30_000))),
    /** How many deliveries are missing in the connections that the clients have now, and in all. */
    missing: () => names.reduce((sum, name) => sum + stream.missedWhileOpen(name), 0),
    async lost() {
      await stream.stop();
      const lost = [];
      for (const name of names) lost.push(await stream.missing(name));
      return lost.reduce((sum, more) => sum + more);
    },
  };
}

for (const protocol of ["classic", "sharded"]) {
  it(`a node is stopped for longer than Redis is waited for: nothing is missing and nobody is cut, ${protocol}`, { timeout: 90_000 }, async (t) => {
    const { b, quiet, listeners, stream, flow, lost } = await scene(t, { protocol });
    await flow();
    const over = performance.now() + 5_000;
    await stopUntil(t, b, "5 s have passed", () => performance.now() > over);
    await flow();
    assert.equal(await lost(), 0);
    assert.ok(stream.sent > 1_000);
    for (const { cuts } of [quiet, ...Object.values(listeners)]) assert.equal(cuts, 0);
  });

  for (const missed of ["disconnect", "ignore"]) {
    it(`Redis keeps too little for a node that is stopped, ${protocol}, missed = ${missed}`, { timeout: 90_000 }, async (t) => {
      const args = ["--client-output-buffer-limit", "pubsub 256kb 0 0"];
      const { redis, a, b, quiet, listeners, flow, missing, lost } = await scene(t, { protocol, missed, args });
      const [noisy, noise] = [await lastingFor(t, a), await lastingFor(t, b)];
      for (const socket of [noisy, noise]) await ack(socket, "join", "public:noise");
      const data = "x".repeat(20_000);
      const timer = setInterval(() => noisy.emit("publish", { room: "public:noise", event: "noise", data }), 2);
      t.after(() => clearInterval(timer));
      await flow();
      const mark = b.logs.length;
      const listening = async () => (await redis.text("CLIENT", "LIST")).match(/ (sub|ssub)=[1-9]/g).length;
      const before = await listening();
      await stopUntil(t, b, "Redis has closed its connection", async () => (await listening()) < before);
      await until("the node has a new link", () => /link to Redis is back/.test(b.logs.slice(mark)), 30_000);
      clearInterval(timer);
      await flow();
      if (missed === "ignore") {
        await lost();
        t.diagnostic(`${missing()} deliveries are missing in connections that stayed open`);
        assert.ok(missing() > 0, "the fault is there");
        for (const { cuts } of Object.values(listeners)) assert.equal(cuts, 0);
        return;
      }
      await until("nobody who is connected has missed anything", () => missing() === 0, 30_000);
      await flow();
      const all = await lost();
      t.diagnostic(`${all} deliveries are missing, ${missing()} of them in connections that stayed open`);
      assert.equal(missing(), 0);
      assert.ok(all > 0, "something was lost");
      assert.equal(quiet.cuts, 0, "who has missed nothing was not cut");
    });
  }
}

it("a node dies while another cannot hear it: nobody knows what it said, and all are cut", { timeout: 90_000 }, async (t) => {
  const redis = await redisFor(t);
  const way = await network(t, redis.port);
  const node = (node_id, port) => serverFor(t, { node_id, redis: { url: `redis://127.0.0.1:${port}` } });
  const [a, b] = [await node("a", redis.port), await node("b", way.port)];
  const { quiet, listeners } = await audienceFor(t, b);
  const stream = await Stream.start(t, await lastingFor(t, a), listeners);
  await stream.flows("client 0");
  // So that they have met.
  await until("b has looked around", async () => (await b.get("/readyz")).status === 200);
  const looked = performance.now() + 6_000;
  await until("for as long as a look takes", () => performance.now() > looked, 10_000);
  way.stall();
  await a.kill();
  way.cut();
  way.flow();
  await until("all are cut, and back", () => [quiet, ...Object.values(listeners)].every(({ cuts, connected }) => cuts === 1 && connected), 40_000);
  assert.match(b.logs, /clients may have missed messages of other nodes.*because="a node is gone"/);
});

// A node that hangs: while its lease lasts it is waited for and named, afterwards it is neither,
// though Redis still counts it, and when it goes on it is asked again.

import assert from "node:assert/strict";
import { describe, it } from "node:test";

import { io as connect } from "socket.io-client";

import { redisFor } from "./support/redis.mjs";
import { startExample } from "./support/server.mjs";
import { DEADLINE, until, within } from "./support/waiting.mjs";

/** What a node waits for others at most, as the example sets it, and how long a lease lasts, in ms. */
const PATIENCE = 2_000;
const LEASE = 15_000;

describe("a node that hangs", { concurrency: 2 }, () => {
  for (const protocol of ["classic", "sharded", "streams"]) {
    it(`is named in answers to questions in the ${protocol} format until it is taken for dead`, { timeout: 180_000 }, async (t) => {
      const redis = await redisFor(t);
      const nodes = {};
      const sockets = {};
      for (const name of ["a", "b", "c"]) {
        nodes[name] = await startExample("cluster_node", { REDIS_URL: redis.url, PROTOCOL: protocol, NODE_ID: name });
        t.after(() => nodes[name].kill());
        sockets[name] = connect(nodes[name].url, { transports: ["websocket"], forceNew: true, reconnection: false });
        t.after(() => sockets[name].close());
        await within(DEADLINE, `the connection to ${name}`, new Promise((done, fail) => sockets[name].once("connect", done).once("connect_error", fail)));
        sockets[name].on("what", (data, ack) => ack(name));
      }
      const ask = (event, request = {}) => within(DEADLINE, event, sockets.a.emitWithAck(event, request));
      const found = async () => {
        const { sockets: list, silent, missing } = await ask("fetch");
        const names = Object.keys(sockets).filter((name) => list.some(({ id }) => id === sockets[name].id));
        return { names, silent, missing };
      };
      const everybody = { names: ["a", "b", "c"], silent: [], missing: 0 };
      await until("every node answers", async () => (await found()).names.length === 3);
      assert.deepEqual(await found(), everybody);

      nodes.c.signal("SIGSTOP");
      t.after(() => nodes.c.signal("SIGCONT"));
      const since = performance.now();
      assert.deepEqual(await found(), { names: ["a", "b"], silent: ["c"], missing: 0 });
      const took = performance.now() - since;
      assert.ok(took >= PATIENCE - 100, `it was waited for: ${took} ms`);
      const { acks, expected, silent } = await ask("ask", { event: "what" });
      assert.deepEqual({ acks: acks.sort(), expected, silent }, { acks: ["a", "b"], expected: 2, silent: ["c"] });
      assert.deepEqual(await ask("ask servers", { event: "hey", data: 1 }), { answers: [{ heard: 1 }], silent: ["c"], missing: 0 });

      const alone = JSON.stringify({ names: ["a", "b"], silent: [], missing: 0 });
      await until("nobody waits for it", async () => JSON.stringify(await found()) === alone, 2 * LEASE);
      t.diagnostic(`taken for dead after ${Math.round(performance.now() - since)} ms`);
      const counted = protocol === "classic" ? "socket.io-request#/#" : "socket.io#/#";
      assert.equal(await redis.listeners(counted, { sharded: protocol === "sharded" }), 3, "Redis still counts it");

      nodes.c.signal("SIGCONT");
      await until("it is asked again", async () => (await found()).names.length === 3, LEASE);
      assert.deepEqual(await found(), everybody);
    });
  }
});

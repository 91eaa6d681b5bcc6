// A Redis that is shared, full, and evicts whatever it likes: nobody who is connected is ever called
// offline for it.

import assert from "node:assert/strict";
import { it } from "node:test";

import { connectWith } from "../clients/support/clients.mjs";
import { redisFor } from "../clients/support/redis.mjs";
import { freePorts, serverFor } from "../clients/support/server.mjs";
import { SECRET, token } from "../clients/support/tokens.mjs";
import { until } from "../clients/support/waiting.mjs";

/** For how long the neighbour fills the memory, in ms: some beats of the nodes. */
const BUSY = 20_000;

async function nodeFor(t, redis, name) {
  const [admin] = await freePorts(1);
  const server = await serverFor(t, { auth: { hs256_secret: SECRET }, node_id: name, admin_listen: `127.0.0.1:${admin}`, users: { offline_after: "0s" }, redis: { url: redis.url } });
  const base = `http://127.0.0.1:${admin}`;
  server.online = async (ids) => {
    const response = await fetch(`${base}/api/v1/users/online`, { method: "POST", body: JSON.stringify({ ids }), headers: { "content-type": "application/json" }, signal: AbortSignal.timeout(20_000) });
    return response.status === 503 ? null : Object.values((await response.json()).online);
  };
  server.listed = async () => {
    const response = await fetch(`${base}/api/v1/users?limit=1000`, { signal: AbortSignal.timeout(20_000) });
    return response.status === 503 ? null : (await response.json()).users.length;
  };
  server.lost = async () => Number(/directory_troubles_total\{kind="lost"\} (\d+)/.exec(await (await fetch(`${base}/metrics`)).text())[1]);
  return server;
}

it("a neighbour that fills the memory makes nobody offline", { timeout: 180_000 }, async (t) => {
  const redis = await redisFor(t);
  const nodes = [await nodeFor(t, redis, "a"), await nodeFor(t, redis, "b")];
  const users = Array.from({ length: 61 }, (_, number) => `user${number}`);
  for (const [number, user] of users.entries()) await connectWith(t, nodes[number % 2], await token(user));
  for (const node of nodes) await until("all are listed", async () => (await node.listed()) === users.length, 15_000);

  const { used_memory: used } = Object.fromEntries((await redis.text("INFO", "memory")).split(/\r?\n/).map((line) => line.split(":")));
  await redis.cli("CONFIG", "SET", "maxmemory", String(Number(used) + 2_000_000));
  await redis.cli("CONFIG", "SET", "maxmemory-policy", "allkeys-lru");
  const fill = "for n = 1, 1000 do redis.call('SET', 'neighbour:' .. ARGV[1] .. ':' .. n, string.rep('x', 1000)) end";
  const answers = { known: 0, unknown: 0 };
  const end = Date.now() + BUSY;
  for (let round = 0; Date.now() < end; round += 1) {
    await redis.cli("EVAL", fill, 0, round);
    for (const node of nodes) {
      const [online, listed] = await Promise.all([node.online(users), node.listed()]);
      if (online) assert.deepEqual(online.filter((is) => !is), [], `round ${round}: somebody who is connected is offline`);
      assert.ok(listed === null || listed === users.length, `round ${round}: ${listed} are listed`);
      answers[online ? "known" : "unknown"] += 1;
    }
  }
  const lost = await nodes[0].lost() + await nodes[1].lost();
  t.diagnostic(`${answers.known} answers, ${answers.unknown} times not known, ${lost} parts were lost`);
  assert.ok(answers.unknown > 0, "nothing was evicted");

  await redis.cli("CONFIG", "SET", "maxmemory", "0");
  for (const node of nodes) {
    await until("all are known again", async () => (await node.listed()) === users.length && (await node.online(users))?.every(Boolean), 30_000);
  }
});

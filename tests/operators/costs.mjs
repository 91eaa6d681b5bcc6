// What each bad day of Redis costs, measured: how many messages are missing, for how long nothing came, and how
// many clients were cut off. Run by hand, `node --test tests/operators/costs.mjs`; docs/redis.md has the figures.

import { it } from "node:test";
import { setTimeout as pause } from "node:timers/promises";

import { nodeFor } from "../clients/support/nodes.mjs";
import { redisFor } from "../clients/support/redis.mjs";
import { serverFor } from "../clients/support/server.mjs";
import { until } from "../clients/support/waiting.mjs";
import { Traffic, addressFor, redisClusterFor, replicaFor, sentinelFor, troubles } from "./redis.mjs";

const TAIL = 3_000;

/** The kinds of servers, two of each. */
const SERVERS = {
  "Switchboard, classic": (t, url) => twice((node_id) => serverFor(t, { node_id, redis: { url } })),
  "Switchboard, sharded": (t, url) => twice((node_id) => serverFor(t, { node_id, redis: { url, protocol: "sharded" } })),
  "Node.js, classic": (t, url) => twice(() => nodeFor(t, { redis: url })),
  "Node.js, classic, ioredis": (t, url) => twice(() => nodeFor(t, { redis: url, client: "ioredis" })),
};
const OURS = Object.keys(SERVERS).filter((name) => name.startsWith("Switchboard"));

const twice = (start) => Promise.all([start("a"), start("b")]);

/** `place` is a Redis, and `day` what happens to it; `servers` names those for which it makes sense. */
const DAYS = {
  "it hangs for 3 s (DEBUG SLEEP)": {
    place: (t) => redisFor(t, { args: ["--enable-debug-command", "yes"] }),
    day: (redis) => redis.cli("DEBUG", "SLEEP", 3),
  },
  "it pauses for 5 s (CLIENT PAUSE)": { place: (t) => redisFor(t), day: async (redis) => (await redis.cli("CLIENT", "PAUSE", 5_000), pause(5_000)) },
  "it pauses writes for 5 s": { place: (t) => redisFor(t), day: async (redis) => (await redis.cli("CLIENT", "PAUSE", 5_000, "WRITE"), pause(5_000)) },
  "it is stopped for 4 s (SIGSTOP)": { place: (t) => redisFor(t), day: async (redis) => (redis.pause(), await pause(4_000), redis.resume()) },
  "its listening connections are closed": { place: (t) => redisFor(t), day: (redis) => redis.cli("CLIENT", "KILL", "TYPE", "pubsub") },
  "all its connections are closed": {
    place: (t) => redisFor(t),
    day: async (redis) => {
      await redis.cli("CLIENT", "KILL", "TYPE", "pubsub");
      await redis.cli("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes");
    },
  },
  "it crashes and is back at once": { place: (t) => redisFor(t), day: async (redis) => (await redis.kill(), redis.start()) },
  "it is away for 5 s": { place: (t) => redisFor(t), day: async (redis) => (await redis.kill(), await pause(5_000), redis.start()) },
  "one address, moved to the promoted replica": {
    place: async (t) => {
      const master = await redisFor(t);
      const replica = await replicaFor(t, master);
      const address = await addressFor(t, master.port);
      return { url: address.url, master, replica, address };
    },
    day: async ({ master, replica, address }) => {
      await replica.cli("REPLICAOF", "NO", "ONE");
      await address.pointTo(replica.port);
      await master.cli("REPLICAOF", "127.0.0.1", replica.port);
    },
  },
  "Sentinel: a planned failover": { servers: OURS, place: (t) => sentinelFor(t), day: ({ sentinel }) => sentinel.cli("SENTINEL", "FAILOVER", "main") },
  "Sentinel: the master crashes": { servers: OURS, place: (t) => sentinelFor(t), day: ({ master }) => master.kill() },
  "Cluster: each master changes places with its replica": {
    servers: OURS,
    place: (t) => redisClusterFor(t),
    day: async (cluster) => {
      for (const { id, node } of (await cluster.members()).filter(({ isMaster }) => !isMaster)) {
        await node.text("CLUSTER", "FAILOVER");
        await until("it is a master", async () => (await cluster.members(node)).find((member) => member.id === id).isMaster, 15_000);
      }
    },
  },
  "Cluster: a master crashes": { servers: OURS, place: (t) => redisClusterFor(t), day: async (cluster) => (await cluster.members())[0].node.kill() },
  "Cluster: a master is emptied and removed": {
    servers: OURS,
    place: (t) => redisClusterFor(t, { replicas: 0 }),
    day: async (cluster) => {
      const [gone, heir] = (await cluster.members()).filter(({ isMaster }) => isMaster);
      const any = `127.0.0.1:${heir.node.port}`;
      await cluster.manage("reshard", any, "--cluster-from", gone.id, "--cluster-to", heir.id, "--cluster-slots", 16_384);
      await cluster.manage("del-node", any, gone.id);
    },
  },
};

const only = process.env.ONLY && new RegExp(process.env.ONLY);
for (const [name, { place, day, servers = Object.keys(SERVERS) }] of Object.entries(DAYS)) {
  for (const kind of servers) {
    if (only && !only.test(`${name} | ${kind}`)) continue;
    it(`${name} | ${kind}`, { timeout: 120_000 }, async (t) => {
      const redis = await place(t);
      const nodes = await SERVERS[kind](t, redis.url);
      if (kind.startsWith("Switchboard")) await until("both are ready", async () => !(await troubles(nodes[0])).length && !(await troubles(nodes[1])).length);
      const traffic = await Traffic.start(t, nodes);
      const start = performance.now();
      await day(redis);
      const lasted = performance.now() - start;
      const flows = await traffic.flows(60_000).catch(() => ["never", "never"]);
      await pause(TAIL);
      const { sent, missing, cuts } = await traffic.result({ settled: 2_000 });
      const silence = traffic.streams.map((stream, at) => stream.longestSilence("ba"[at]));
      console.log(`${name} | ${kind} | sent ${sent} | missing ${missing} | silent ms ${silence} | cut ${cuts} | the day lasted ${Math.round(lasted)} ms, flows after ${flows}`);
    });
  }
}

// Clients that are cut at random come back to any node of a cluster, by a load balancer that is not
// sticky, while numbered messages flow from all nodes; and nodes are drained meanwhile. Each client
// hears each message once, and in order.
//
//   RECOVERY_CUTS=10000 node --test recovery-moves.test.mjs     more of it
//   RECOVERY_SEED=… node --test recovery-moves.test.mjs         the same choices again

import assert from "node:assert/strict";
import { it } from "node:test";

import { KINDS, Traveller, campaign } from "./support/cuts.mjs";
import { Random, SEED } from "./support/random.mjs";
import { redisFor } from "./support/redis.mjs";
import { roundRobin } from "./support/round-robin.mjs";
import { freePorts, serverFor } from "./support/server.mjs";
import { byApi, byClient, byDevices } from "./support/speakers.mjs";
import { SECRET } from "./support/tokens.mjs";
import { until } from "./support/waiting.mjs";

const CUTS = Number(process.env.RECOVERY_CUTS ?? 300);
const ROOMS = ["public:one", "public:two", "public:three", "public:four"];
const USERS = ["user:alice", "user:bob", "user:carol"];

async function nodesFor(t, protocol, names) {
  const redis = await redisFor(t);
  const start = async (name) => {
    const [admin] = await freePorts(1);
    const node = await serverFor(t, {
      admin_listen: `127.0.0.1:${admin}`,
      auth: { hs256_secret: SECRET },
      drain: { grace: "100ms", spread: "1s", timeout: "20s" },
      engine: { ping_interval: "1s", ping_timeout: "2s" },
      node_id: name,
      recovery: { enabled: true },
      redis: { url: redis.url, protocol },
    });
    return Object.assign(node, { admin: `http://127.0.0.1:${admin}`, name });
  };
  const nodes = await Promise.all(names.map(start));
  const counted = protocol === "classic" ? "socket.io-request#/#" : "socket.io#/#";
  await until("all nodes hear each other", async () => (await redis.listeners(counted, { sharded: protocol === "sharded" })) === nodes.length);
  return { nodes, start };
}

const travellersFor = (t, name, servers, speakers, count) => Promise.all(Array.from({ length: count }, (_, number) => {
  const random = new Random(SEED).of(`${name} ${number}`);
  const kind = Object.keys(KINDS)[number % 4];
  const [rooms, user] = [[ROOMS[number % 4], ROOMS[(number >> 2) % 4]], USERS[number % 3]];
  const streams = speakers.flatMap((speaker) => speaker.streams([...new Set(rooms), user, "everybody"]));
  return Traveller.start(t, { name: `${kind} ${number}`, kind, rooms, user: user.slice(5), streams, servers, random });
}));

/** Nothing is missing for a client that was not told so, and nothing comes twice. */
function assertWhole(figures) {
  const { missing, repeated, disordered, damaged, changed } = figures;
  assert.deepEqual(
    { missing, repeated, disordered, damaged, changed },
    { missing: 0, repeated: 0, disordered: 0, damaged: 0, changed: 0 },
    `${figures}\n${figures.faults()}`,
  );
}

for (const protocol of ["classic", "sharded"]) {
  it(`clients lose nothing on their way from node to node (${protocol})`, { timeout: 120_000 + CUTS * 300 }, async (t) => {
    const { nodes } = await nodesFor(t, protocol, ["a", "b", "c"]);
    const front = await roundRobin(t, nodes);
    const speakers = [
      ...nodes.map(({ admin, name }) => byApi(admin, `a program on ${name}`, [...ROOMS, ...USERS, "everybody"], { every: 15 })),
      await byClient(t, nodes[1], "a client", ROOMS),
      await byDevices(t, nodes[2], "a device", USERS, { every: 30 }),
    ];
    const travellers = await travellersFor(t, protocol, [front], speakers, 16);
    const figures = await campaign(t, { travellers, speakers, cuts: CUTS });
    t.diagnostic(String(figures));
    assertWhole(figures);
    assert.ok(figures.notRecovered <= figures.lostConnections / 50, `${figures}\n${figures.faults()}`);
  });

  it(`a node that drains hands its sessions over (${protocol})`, { timeout: 120_000 + CUTS * 300 }, async (t) => {
    const { nodes: [stays, ...nodes], start } = await nodesFor(t, protocol, ["a", "b", "c"]);
    const front = await roundRobin(t, nodes);
    const speakers = [
      byApi(stays.admin, "a program", [...ROOMS, ...USERS, "everybody"], { every: 5 }),
      await byDevices(t, stays, "a device", USERS, { every: 30 }),
    ];
    const travellers = await travellersFor(t, `${protocol} drain`, [front], speakers, 16);
    const rounds = Math.max(2, Math.round(CUTS / 75));
    const drains = async (progress) => {
      for (let round = 0; round < rounds; round++) {
        await until("some more were cut", () => progress() >= round / rounds, 300_000);
        const [first, ...others] = nodes;
        nodes.splice(0, nodes.length, ...others, await start(`node-${round}`));
        front.nodes = [...nodes];
        assert.equal((await first.stop()).code, 0);
      }
    };
    const figures = await campaign(t, { travellers, speakers, cuts: CUTS, meanwhile: drains });
    t.diagnostic(`${rounds} drains; ${figures}`);
    assertWhole(figures);
    assert.ok(figures.notRecovered <= figures.lostConnections / 50, `${figures}\n${figures.faults()}`);
  });
}

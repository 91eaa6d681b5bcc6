// Clients of every kind are cut at random while numbered messages flow to rooms, users and everybody:
// each connection is recovered, and each client hears each message once, and in order.
//
//   RECOVERY_CUTS=10000 node --test recovery-cuts.test.mjs     more of it
//   RECOVERY_SEED=… node --test recovery-cuts.test.mjs         the same choices again
//   RECOVERY_PEER=node node --test recovery-cuts.test.mjs      the figures of Node.js (or node-streams)

import assert from "node:assert/strict";
import { it } from "node:test";

import { KINDS, Traveller, campaign } from "./support/cuts.mjs";
import { nodeFor } from "./support/nodes.mjs";
import { Random, SEED } from "./support/random.mjs";
import { redisFor } from "./support/redis.mjs";
import { freePorts, serverFor } from "./support/server.mjs";
import { byApi, byClient, byDevices, byNode } from "./support/speakers.mjs";
import { SECRET } from "./support/tokens.mjs";

const CUTS = Number(process.env.RECOVERY_CUTS ?? 600);
const PEER = process.env.RECOVERY_PEER;
const ROOMS = ["public:one", "public:two", "public:three", "public:four"];
const USERS = ["user:alice", "user:bob", "user:carol"];

/** One server, and who speaks there beside the clients. */
const SERVERS = {
  async switchboard(t, parser) {
    const [port] = await freePorts(1);
    const server = await serverFor(t, {
      admin_listen: `127.0.0.1:${port}`,
      auth: { hs256_secret: SECRET },
      engine: { parser, ping_interval: "1s", ping_timeout: "2s" },
      recovery: { enabled: true },
    }, { env: { RUST_LOG: "info,switchboard::gateway::entrance=debug" } });
    return { server, program: byApi(`http://127.0.0.1:${port}`, "a program", [...ROOMS, ...USERS, "everybody"], { every: 5 }) };
  },
  async node(t, parser) {
    const server = await nodeFor(t, { adapter: "memory", parser, io: { connectionStateRecovery: {}, pingInterval: 1_000, pingTimeout: 2_000 } });
    return { server, program: byNode(server, "a program", [...ROOMS, ...USERS, "everybody"], { every: 5 }) };
  },
  async "node-streams"(t, parser) {
    const redis = await redisFor(t);
    const server = await nodeFor(t, { adapter: "streams", redis: redis.url, parser, io: { connectionStateRecovery: {}, pingInterval: 1_000, pingTimeout: 2_000 } });
    return { server, program: byNode(server, "a program", [...ROOMS, ...USERS, "everybody"], { every: 5 }) };
  },
};

for (const parser of ["json", "msgpack"]) {
  it(`clients that are cut lose nothing (${parser})`, { timeout: 60_000 + CUTS * 200 }, async (t) => {
    const { server, program } = await SERVERS[PEER ?? "switchboard"](t, parser);
    const options = { parser: parser === "msgpack" ? await import("socket.io-msgpack-parser") : undefined };
    const speakers = [program, await byClient(t, server, "a client", ROOMS, options), await byDevices(t, server, "a device", USERS, { ...options, every: 30 })];
    const random = new Random(SEED).of(parser);
    const travellers = await Promise.all(Array.from({ length: 24 }, (_, number) => {
      const kind = Object.keys(KINDS)[number % 4];
      const [rooms, user] = [[ROOMS[number % 4], ROOMS[(number >> 2) % 4]], USERS[number % 3]];
      const name = `${kind} ${number}`;
      const streams = speakers.flatMap((speaker) => speaker.streams([...new Set(rooms), user, "everybody"]));
      return Traveller.start(t, { name, kind, parser, rooms, user: user.slice(5), streams, servers: [server], random: random.of(name) });
    }));
    const figures = await campaign(t, { travellers, speakers, cuts: CUTS / 2 });
    t.diagnostic(String(figures));
    if (PEER) return void t.diagnostic(figures.faults(1));
    const { missing, repeated, disordered, damaged, changed, notRecovered, lost } = figures;
    assert.equal(figures.recovered, figures.lostConnections, `every lost connection was recovered: ${figures}\n${figures.faults()}`);
    assert.deepEqual(
      { missing, repeated, disordered, damaged, changed, notRecovered, lost },
      { missing: 0, repeated: 0, disordered: 0, damaged: 0, changed: 0, notRecovered: 0, lost: 0 },
      `${figures}\n${figures.faults()}`,
    );
  });
}

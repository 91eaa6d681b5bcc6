// The campaign of cuts over three nodes that speak by a Redis stream, behind a load balancer that knows nothing of
// sessions: each request, and each return, comes to another node. Who is told that the session is the former one has
// missed nothing, heard nothing twice, and all in order; whatever happens to the nodes and to Redis meanwhile.
//
//   RECOVERY_CUTS=10000 node --test recovery-cuts-streams.test.mjs     more of it
//   RECOVERY_FAULTS=kill,freeze RECOVERY_CUTS=2000 node …              these faults, in turn, again and again
//   RECOVERY_SEED=… node …                                             the same choices again

import assert from "node:assert/strict";
import { it } from "node:test";
import { setTimeout as pause } from "node:timers/promises";

import { createClient } from "redis";

import { KINDS, Traveller, campaign } from "./support/cuts.mjs";
import { nodeFor } from "./support/nodes.mjs";
import { Random, SEED } from "./support/random.mjs";
import { redisFor } from "./support/redis.mjs";
import { roundRobin } from "./support/round-robin.mjs";
import { freePorts, serverFor } from "./support/server.mjs";
import { byApi, byClient, byDevices, byEmitter, byNode } from "./support/speakers.mjs";
import { SECRET } from "./support/tokens.mjs";
import { until } from "./support/waiting.mjs";

const CUTS = Number(process.env.RECOVERY_CUTS ?? 60);
const ROOMS = ["public:one", "public:two", "public:three", "public:four"];
const USERS = ["user:alice", "user:bob", "user:carol"];
const ALL = [...ROOMS, ...USERS, "everybody"];
const FAULT_NAMES = (process.env.RECOVERY_FAULTS ?? "kill,drain,freeze,redis").split(",");
const ENGINE = { ping_interval: "1s", ping_timeout: "2s" };

/** A node of ours; `admin` is where its API is. */
async function ours(t, redis, name, parser = "json") {
  const [port] = await freePorts(1);
  const server = await serverFor(t, {
    node_id: name,
    admin_listen: `127.0.0.1:${port}`,
    auth: { hs256_secret: SECRET },
    edge: { secrets: [SECRET] },
    engine: { parser, ...ENGINE },
    recovery: { enabled: true },
    redis: { url: redis.url, protocol: "streams" },
  });
  return Object.assign(server, { admin: `http://127.0.0.1:${port}` });
}

/** Clients of all `kinds`, who come to `servers`. */
function travellers(t, { count, servers, speakers, parser, kinds = Object.keys(KINDS), ...more }) {
  const random = new Random(SEED).of(parser ?? "json");
  return Promise.all(Array.from({ length: count }, (_, number) => {
    const kind = kinds[number % kinds.length];
    const [rooms, user] = [[ROOMS[number % 4], ROOMS[(number >> 2) % 4]], USERS[number % 3]];
    const name = `${kind} ${number}`;
    const streams = speakers.flatMap((speaker) => speaker.streams([...new Set(rooms), user, "everybody"]));
    return Traveller.start(t, { name, kind, parser, rooms, user: user.slice(5), streams, servers, random: random.of(name), ...more });
  }));
}

/** Nothing is wrong that the client has not been told. */
function isFaultless(t, figures, faults = ["missing", "repeated", "disordered", "damaged", "changed"]) {
  t.diagnostic(String(figures));
  for (const fault of faults) assert.equal(figures[fault], 0, `${fault}: ${figures}\n${figures.faults()}`);
}

for (const parser of ["json", "msgpack"]) {
  it(`clients that come back to other nodes lose nothing (${parser})`, { timeout: 60_000 + CUTS * 400 }, async (t) => {
    const redis = await redisFor(t);
    const nodes = await Promise.all(["a", "b", "c"].map((name) => ours(t, redis, name, parser)));
    const front = await roundRobin(t, nodes);
    const options = { parser: parser === "msgpack" ? await import("socket.io-msgpack-parser") : undefined };
    const programs = nodes.map(({ admin }, number) => byApi(admin, `a program at ${number}`, ALL, { every: 30 }));
    const speakers = [...programs, await byClient(t, nodes[0], "a client", ROOMS, options), await byDevices(t, nodes[1], "a device", USERS, { ...options, every: 30 })];
    const clients = await travellers(t, { count: 16, servers: [front], speakers, parser });
    const figures = await campaign(t, { travellers: clients, speakers, cuts: CUTS / 2 });
    isFaultless(t, figures);
    // Who is cut while its session moves may be told that it is lost; that is rare.
    assert.ok(figures.recovered >= 0.9 * figures.lostConnections, `connections are recovered: ${figures}\n${figures.faults()}`);
  });
}

it("clients that come and go between our nodes and a Node.js server miss nothing unknowingly", { timeout: 60_000 + CUTS * 400 }, async (t) => {
  const redis = await redisFor(t);
  const nodes = await Promise.all(["a", "b"].map((name) => ours(t, redis, name)));
  const node = await nodeFor(t, { adapter: "streams", redis: redis.url, io: { connectionStateRecovery: {}, pingInterval: 1_000, pingTimeout: 2_000 } });
  const speakers = [byApi(nodes[0].admin, "a program of ours", ALL, { every: 30 }), byNode(node, "a program of theirs", ALL, { every: 30 })];
  // A session that polls stays with its server there. When that server has restored a session beside its connection
  // that is half open, the end of that one takes the rooms of both. And it loses what comes between its look into
  // the stream for what was missed and the moment in which the socket is in its rooms.
  const ways = ["reset", "end", "by the client"];
  const clients = await travellers(t, { count: 12, servers: [...nodes, node], speakers, kinds: ["websocket"], ways, lossy: [node] });
  const figures = await campaign(t, { travellers: clients, speakers, cuts: CUTS / 2 });
  // It also delivers its own events past those that are before them in the stream. The client's last offset is an
  // earlier one then, and what lies behind it comes once more, wherever the client goes.
  isFaultless(t, figures, ["missing", "damaged", "changed"]);
  assert.ok(figures.recovered >= 0.9 * figures.lostConnections, `connections are recovered: ${figures}\n${figures.faults()}`);
});

/** What may happen to a node, or to Redis, while clients come and go. Each ends with all as before. */
const FAULTS = {
  /**
   * A node dies at once, and another one of its name takes its place. What it has not written down yet is lost with
   * it, so it does not die right after somebody has joined a room.
   */
  async kill({ random, nodes, redis, clients, renew }) {
    const isWritten = async ({ rooms, socket }) => {
      const record = Buffer.from(String(await redis.cli("GET", `sio:session:${socket._pid}`)), "base64");
      return rooms.every((room) => record.includes(room));
    };
    await until("all rooms are written down", async () => (await Promise.all(clients.map(isWritten))).every(Boolean));
    const number = random.between(0, nodes.length);
    await nodes[number].kill();
    await renew(number);
  },
  /** A node is drained, and another one of its name takes its place. */
  async drain({ random, nodes, renew }) {
    const number = random.between(0, nodes.length);
    await nodes[number].stop();
    await renew(number);
  },
  /** A node stands still for longer than its clients wait for it. */
  async freeze({ random, nodes }) {
    const node = random.pick(nodes);
    node.signal("SIGSTOP");
    await pause(random.between(500, 4_000));
    node.signal("SIGCONT");
  },
  /** Redis dies, and comes back with what it had. */
  async redis({ random, redis, speakers }) {
    await Promise.all(speakers.map((speaker) => speaker.hold()));
    await redis.kill();
    await pause(random.between(100, 1_500));
    await redis.start();
    for (const speaker of speakers) speaker.release();
  },
};

it(`and nobody misses anything unknowingly, whatever happens: ${FAULT_NAMES}`, { timeout: 120_000 + CUTS * 800 }, async (t) => {
  const redis = await redisFor(t, { keeps: true });
  const nodes = await Promise.all(["a", "b", "c"].map((name) => ours(t, redis, name)));
  const front = await roundRobin(t, nodes);
  const client = createClient({ url: redis.url });
  client.on("error", () => {}); // it comes back by itself
  await client.connect();
  t.after(() => client.destroy());
  const speakers = [byEmitter(client, "a program", ALL, { every: 15 })];
  const clients = await travellers(t, { count: 12, servers: [front], speakers });
  const random = new Random(SEED).of("faults");
  const renew = async (number) => {
    nodes[number] = await ours(t, redis, ["a", "b", "c"][number]);
    front.nodes = [...nodes];
  };
  const happened = {};
  const meanwhile = async (progress) => {
    for (let turn = 0; turn < FAULT_NAMES.length || progress() < 1; turn++) {
      const name = FAULT_NAMES[turn % FAULT_NAMES.length];
      for (const one of clients) one.tell(`now there is: ${name}`);
      await FAULTS[name]({ random, nodes, redis, speakers, clients, renew });
      happened[name] = (happened[name] ?? 0) + 1;
      await pause(random.between(300, 1_000));
    }
  };
  const figures = await campaign(t, { travellers: clients, speakers, cuts: CUTS / 2, meanwhile });
  t.diagnostic(JSON.stringify(happened));
  isFaultless(t, figures);
});

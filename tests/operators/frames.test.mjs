// Messages between nodes while Redis hangs, closes connections, restarts, or gets a message that is too big;
// counted in both directions, with Node.js servers beside ours where they are the measure. Nobody is cut
// off here for what may be missing (`redis.missed`), so that what counts is what the link does.

import assert from "node:assert/strict";
import { describe, it } from "node:test";

import { nodeFor } from "../clients/support/nodes.mjs";
import { redisFor } from "../clients/support/redis.mjs";
import { serverFor } from "../clients/support/server.mjs";
import { SECRET } from "../clients/support/tokens.mjs";
import { until } from "../clients/support/waiting.mjs";
import { Traffic, redisClusterFor, troubles } from "./redis.mjs";

const PROTOCOLS = ["classic", "sharded"];

const oursFor = (t, url, protocol, config = {}) => Promise.all(["a", "b"].map((name) =>
  serverFor(t, { auth: { hs256_secret: SECRET }, node_id: name, ...config, redis: { url, protocol, missed: "ignore", ...config.redis } })));
const theirsFor = (t, redis, adapter) => Promise.all([0, 1].map(() => nodeFor(t, { redis: redis.url, adapter })));

/** Traffic among our servers, and among Node.js servers on the same Redis. */
async function both(t, redis, protocol) {
  const [ours, theirs] = [await oursFor(t, redis.url, protocol), await theirsFor(t, redis, protocol)];
  return { ours: await Traffic.start(t, ours), theirs: await Traffic.start(t, theirs) };
}

/** What was lost of each, when everything flows again; told. */
async function results(t, traffic) {
  const lost = {};
  for (const [whose, each] of Object.entries(traffic)) {
    await each.flows(30_000);
    const { sent, missing, cuts } = await each.result({ settled: 2_000 });
    t.diagnostic(`${whose}: ${missing} of ${sent} are missing, ${cuts} cuts`);
    lost[whose] = missing;
    assert.deepEqual(cuts, [0, 0]);
  }
  return lost;
}

const pass = async (ms) => {
  const end = performance.now() + ms;
  await until(`${ms} ms have passed`, () => performance.now() > end, ms + 5_000);
};

/** Each way in which a Redis hangs for some seconds. */
const HANGS = {
  "DEBUG SLEEP 3": { hang: (redis) => void redis.cli("DEBUG", "SLEEP", "3").catch(() => {}), ms: 3_000 },
  "CLIENT PAUSE 5000": { hang: (redis) => redis.cli("CLIENT", "PAUSE", "5000"), ms: 5_000 },
  "CLIENT PAUSE 5000 WRITE": { hang: (redis) => redis.cli("CLIENT", "PAUSE", "5000", "WRITE"), ms: 5_000 },
  "SIGSTOP for 4 s": { hang: (redis) => redis.pause(), ms: 4_000, end: (redis) => redis.resume() },
};

for (const protocol of PROTOCOLS) {
  describe(`messages between nodes, ${protocol}`, { concurrency: 2 }, () => {
    for (const [name, { hang, ms, end }] of Object.entries(HANGS)) {
      it(`none is lost by ${name}`, { timeout: 90_000 }, async (t) => {
        const redis = await redisFor(t, { args: ["--enable-debug-command", "yes"] });
        const traffic = await both(t, redis, protocol);
        t.after(() => end?.(redis));
        await hang(redis);
        await pass(ms);
        await end?.(redis);
        assert.deepEqual(await results(t, traffic), { ours: [0, 0], theirs: [0, 0] });
      });
    }

    it("a Redis that hangs for longer than it is waited for costs what was on its way", { timeout: 90_000 }, async (t) => {
      const redis = await redisFor(t);
      const ours = await oursFor(t, redis.url, protocol, { redis: { request_timeout: "2s", silence_timeout: "2s" } });
      const traffic = { ours: await Traffic.start(t, ours) };
      redis.pause();
      t.after(() => redis.resume());
      await Promise.all(ours.map((server) => until("it says that the link is down", async () => (await troubles(server)).length > 0)));
      await pass(2_000);
      redis.resume();
      const lost = await results(t, traffic);
      for (const missing of lost.ours) assert.ok(missing <= 10, `${missing}`);
    });

    it("nobody waits for longer than redis.pending_age, or for more than redis.pending_max", { timeout: 90_000 }, async (t) => {
      for (const [key, value] of [["pending_age", "500ms"], ["pending_max", "2kB"]]) {
        const redis = await redisFor(t);
        const ours = await oursFor(t, redis.url, protocol, { redis: { [key]: value } });
        const traffic = { ours: await Traffic.start(t, ours) };
        await redis.kill();
        await pass(2_000);
        await redis.start();
        const lost = await results(t, traffic);
        for (const missing of lost.ours) assert.ok(missing > 50, `${key}: ${missing}`);
      }
    });

    for (const type of ["pubsub", "normal"]) {
      it(`connections of the type ${type} are killed five times`, { timeout: 90_000 }, async (t) => {
        const redis = await redisFor(t);
        const traffic = { ours: await Traffic.start(t, await oursFor(t, redis.url, protocol)) };
        for (let round = 0; round < 5; round++) {
          await redis.cli("CLIENT", "KILL", "TYPE", type);
          await pass(1_000);
        }
        const lost = await results(t, traffic);
        for (const missing of lost.ours) assert.ok(missing <= 5, `${missing}`);
      });
    }

    it("a restart costs what was on its way", { timeout: 90_000 }, async (t) => {
      const redis = await redisFor(t);
      const ours = await oursFor(t, redis.url, protocol);
      const traffic = { ours: await Traffic.start(t, ours) };
      await redis.kill();
      await Promise.all(ours.map((server) => until("it says that the link is down", async () => /redis link down/.test(await troubles(server)))));
      await pass(1_500);
      await redis.start();
      const lost = await results(t, traffic);
      for (const missing of lost.ours) assert.ok(missing <= 10, `${missing}`);
    });

    for (const tells of [true, false]) {
      it(`a message above client-output-buffer-limit, which Redis ${tells ? "tells" : "does not tell"}, costs no other`, { timeout: 90_000 }, async (t) => {
        const args = ["--client-output-buffer-limit", "pubsub 1mb 1mb 0"];
        if (!tells) args.push("--rename-command", "CONFIG", "");
        const redis = await redisFor(t, { args });
        const ours = await oursFor(t, redis.url, protocol, { engine: { max_payload: "4MB" } });
        const traffic = { ours: await Traffic.start(t, ours) };
        const [sender] = traffic.ours.sockets;
        for (let round = 0; round < 5; round++) {
          const answer = await sender.timeout(10_000).emitWithAck("publish", { room: traffic.ours.streams[0].room, event: "big", data: "x".repeat(2 << 20) });
          assert.equal(answer.ok ?? answer.error, true);
          await pass(500);
        }
        const lost = await results(t, traffic);
        for (const missing of lost.ours) assert.ok(missing <= (tells ? 0 : 10), `${missing}`);
        const said = ours[0].logs.split("\n").filter((line) => /too big for Redis|right after a big message/.test(line));
        assert.equal(said.length, 1, ours[0].logs);
        assert.match(said[0], /size=209\d{4}.*channel=.*socket\.io#/);
      });
    }
  });
}

describe("messages between nodes, sharded in a cluster", () => {
  it("the loss of a master without a replica costs the channels of the others nothing", { timeout: 120_000 }, async (t) => {
    const redis = await redisClusterFor(t, { replicas: 0, args: ["--cluster-require-full-coverage", "no"] });
    const ours = await oursFor(t, redis.url, "sharded");
    // Rooms are named by numbers; so some are at each of the masters.
    const traffic = [];
    for (let count = 0; count < 8; count++) traffic.push(await Traffic.start(t, ours));
    const slots = await Promise.all(traffic.map(({ streams }) => Promise.all(streams.map(({ room }) => redis.nodes[0].cli("CLUSTER", "KEYSLOT", `socket.io#/#${room}#`)))));
    const atLast = (slot) => slot > 10922;
    const [lost] = (await redis.members()).filter(({ isMaster, slots }) => isMaster && slots.some((range) => atLast(Number(range.split("-")[0]))));
    await lost.node.kill();
    await pass(4_000);
    for (const server of ours) assert.match((await troubles(server)).join(), /redis link down.*of 16384 slots/);
    await lost.node.start();
    const missing = { lost: [], others: [] };
    for (const [at, each] of traffic.entries()) {
      await each.flows(30_000);
      const result = await each.result({ settled: 2_000 });
      result.missing.forEach((count, direction) => missing[atLast(slots[at][direction]) ? "lost" : "others"].push(count));
    }
    t.diagnostic(`missing in rooms of the lost master: ${missing.lost}; of the others: ${missing.others}`);
    assert.ok(missing.lost.length > 0 && missing.others.length > 0);
    assert.ok(missing.others.every((count) => count === 0));
    for (const count of missing.lost) assert.ok(count <= 10, `${count}`);
  });
});

// A link to Redis is left when its server is no longer the right one, though it goes on answering; and
// while there is no link, the node says why.

import assert from "node:assert/strict";
import { connect as connectTcp } from "node:net";
import { it } from "node:test";

import { connectWith } from "../clients/support/clients.mjs";
import { redisFor } from "../clients/support/redis.mjs";
import { serverFor } from "../clients/support/server.mjs";
import { SECRET, token } from "../clients/support/tokens.mjs";
import { until } from "../clients/support/waiting.mjs";
import { Traffic, addressFor, redisClusterFor, replicaFor, troubles } from "./redis.mjs";

const node = (t, node_id, redis) => serverFor(t, { node_id, auth: { hs256_secret: SECRET, mode: "optional" }, redis });

/** Two nodes that use this Redis, with a user on the first, and traffic in both directions. */
async function scene(t, redis) {
  const nodes = [await node(t, "a", redis), await node(t, "b", redis)];
  await connectWith(t, nodes[0], await token("alice"));
  for (const server of nodes) await ready(server);
  return { nodes, traffic: await Traffic.start(t, nodes) };
}

const ready = (server) => until("it is ready", async () => !(await troubles(server)).length, 30_000);

/** All is well again with both nodes, in both directions. */
async function heals(t, { nodes, traffic }) {
  const since = performance.now();
  await traffic.flows(30_000);
  t.diagnostic(`messages pass again after ${Math.round(performance.now() - since)} ms`);
  for (const server of nodes) await ready(server);
  await traffic.flows(30_000);
  const { sent, missing } = await traffic.result();
  t.diagnostic(`${missing} of ${sent} are missing`);
}

/** The connections of ours: those of a Redis to others of its kind have no name of a client's command. */
const links = async (redis) => (await redis.text("CLIENT", "LIST")).split("\n").filter((line) => /resp=3/.test(line));

/** Nobody is connected to it any more. */
async function left(redis) {
  const gone = async () => !(await links(redis)).length;
  await until("nobody is there", gone, 30_000).catch(async () => assert.deepEqual(await links(redis), []));
}

for (const protocol of ["classic", "sharded"]) {
  for (const migration of ["yes", "no"]) {
    const becomes = migration === "yes" ? "a replica first" : "a master without slots first";
    it(`a node that is removed from a Redis Cluster and becomes ${becomes} is left, ${protocol}`, { timeout: 180_000 }, async (t) => {
      const cluster = await redisClusterFor(t, { replicas: 0, args: ["--cluster-allow-replica-migration", migration] });
      const all = await scene(t, { url: cluster.url, protocol });
      const members = await cluster.members();
      const counts = await Promise.all(members.map(({ node }) => links(node)));
      const most = Math.max(...counts.map((lines) => lines.length));
      const goes = members[counts.findIndex((lines) => lines.length === most)];
      const [stays, other] = members.filter((member) => member !== goes);
      const entry = `127.0.0.1:${stays.node.port}`;
      await cluster.manage("reshard", entry, "--cluster-from", goes.id, "--cluster-to", stays.id, "--cluster-slots", 16384);
      await until("all know that it has no slots", async () => {
        const seen = await Promise.all([stays, other, goes].map(({ node }) => cluster.members(node)));
        return seen.flat().every(({ id, slots }) => id !== goes.id || !slots.length);
      }, 30_000);
      await cluster.manage("del-node", entry, goes.id);
      await heals(t, all);
      await left(goes.node);
    });
  }
}

it("an address whose master becomes a replica is followed to the new one", { timeout: 120_000 }, async (t) => {
  const old = await redisFor(t);
  const next = await replicaFor(t, old);
  const address = await addressFor(t, old.port);
  const all = await scene(t, { url: address.url });
  await next.cli("REPLICAOF", "NO", "ONE");
  await old.cli("REPLICAOF", "127.0.0.1", String(next.port));
  await address.pointTo(next.port);
  await left(old);
  await heals(t, all);
});

for (const protocol of ["classic", "sharded"]) {
  it(`an address is followed though the old master goes on, ${protocol}`, { timeout: 120_000 }, async (t) => {
    const [old, next] = [await redisFor(t), await redisFor(t)];
    const address = await addressFor(t, old.port);
    const all = await scene(t, { url: address.url, protocol });
    await address.pointTo(next.port);
    await left(old);
    await heals(t, all);
  });
}

it("while there is no link the node says why, once for each reason", { timeout: 120_000 }, async (t) => {
  const redis = await redisFor(t);
  await redis.cli("ACL", "SETUSER", "app", "on", ">first", "~*", "&*", "+@all");
  const server = await node(t, "a", { url: `redis://app:first@127.0.0.1:${redis.port}` });
  await ready(server);
  const cut = async () => redis.cli("CLIENT", "KILL", "USER", "app").catch(() => {});
  const says = (text) => until(text, async () => (await troubles(server)).some((reason) => reason.startsWith("redis link down") && reason.includes(text)), 20_000);

  await redis.cli("ACL", "SETUSER", "app", "resetpass", ">second");
  await cut();
  await says('the password of the user "app" is not right');
  await redis.cli("ACL", "SETUSER", "app", ">first");
  await ready(server);

  // On one connection, which is then all that it takes.
  const operator = connectTcp(redis.port, "127.0.0.1");
  t.after(() => operator.destroy());
  operator.write("CONFIG SET maxclients 1\r\nCLIENT KILL USER app\r\n");
  await says("maxclients");
  operator.write("CONFIG SET maxclients 100\r\n");
  await ready(server);
  assert.doesNotMatch(server.logs, /first|second/);
  const lines = server.logs.split("\n").filter((line) => /WARN/.test(line) && /is not right/.test(line));
  assert.ok(lines.length <= 2, `once for each link:\n${lines.join("\n")}`);
});

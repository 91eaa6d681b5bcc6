// The rights of docs/redis.md are enough in a Redis Cluster and behind Sentinels, too, a failover included.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { it } from "node:test";

import { connectWith } from "../clients/support/clients.mjs";
import { serverFor } from "../clients/support/server.mjs";
import { SECRET, token } from "../clients/support/tokens.mjs";
import { until } from "../clients/support/waiting.mjs";
import { Traffic, redisClusterFor, sentinelFor, troubles } from "./redis.mjs";

const page = readFileSync(join(import.meta.dirname, "../../docs/redis.md"), "utf8");

/** The words of the command on the page that makes the user, and those that the page has for a place. */
function rights(kind, ...more) {
  const [, command] = new RegExp(`\`\`\`acl ${kind}\n([^\`]+)\`\`\``).exec(page);
  return [...command.replace(">PASSWORD", ">pw").trim().split(/\s+/), ...more];
}

/** A right that stands on the page. */
function named(right) {
  assert.ok(page.includes(`\`${right}\``), `the page names ${right}`);
  return right;
}

/** Without these all works, and Redis notes that it has refused them. */
const OF_USE = ["+info", "+config|get"].map(named);

const node = (t, node_id, url, protocol) => serverFor(t, { node_id, auth: { hs256_secret: SECRET, mode: "optional" }, redis: { url, protocol } });

/** Two nodes with this URL do all that nodes do, `during` something as well; then nothing was refused. */
async function story(t, url, protocol, redises, during) {
  const nodes = [await node(t, "a", url, protocol), await node(t, "b", url, protocol)];
  await connectWith(t, nodes[0], await token("alice"));
  for (const server of nodes) await until("it is ready", async () => !(await troubles(server)).length, 15_000);
  const traffic = await Traffic.start(t, nodes);
  await during?.();
  await traffic.flows(30_000);
  await traffic.result();
  for (const server of nodes) await until("it is ready again", async () => !(await troubles(server)).length, 30_000);
  for (const redis of redises) {
    const refused = (await redis.cli("ACL", "LOG")).filter(({ username }) => username === "switchboard");
    assert.deepEqual(refused, [], "Redis has refused nothing");
  }
}

for (const protocol of ["classic", "sharded"]) {
  it(`those for a Redis Cluster are enough, ${protocol}`, { timeout: 120_000 }, async (t) => {
    const cluster = await redisClusterFor(t);
    for (const redis of cluster.nodes) await redis.cli(...rights(protocol, named("+cluster|slots"), named("+cluster|myid"), named("+ping"), ...OF_USE));
    const url = cluster.url.replaceAll("redis://", "redis://switchboard:pw@");
    await story(t, url, protocol, cluster.nodes, async () => {
      for (const { node } of (await cluster.members()).filter(({ isMaster }) => !isMaster)) await node.text("CLUSTER", "FAILOVER");
    });
  });

  it(`those for Sentinels are enough, ${protocol}`, { timeout: 120_000 }, async (t) => {
    const { master, replica, sentinel, url } = await sentinelFor(t);
    for (const redis of [master, replica]) await redis.cli(...rights(protocol, ...OF_USE));
    await sentinel.cli(...rights("sentinel"));
    await sentinel.cli("ACL", "SETUSER", "default", "resetpass", ">other");
    await story(t, url.replace("://", "://switchboard:pw@"), protocol, [replica], () => master.kill());
    const said = await sentinel.cli("--user", "default", "--pass", "other", "--no-auth-warning", "ACL", "LOG");
    assert.doesNotMatch(said.stdout, /switchboard/);
  });
}

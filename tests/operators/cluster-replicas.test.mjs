// A Redis Cluster in which roles change: classic channels are known to all of its nodes, so a master that has
// changed places with its replica costs nothing, and who listens at a replica is counted.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { it } from "node:test";

import { freePorts, serverFor } from "../clients/support/server.mjs";
import { until } from "../clients/support/waiting.mjs";
import { Traffic, redisClusterFor, troubles } from "./redis.mjs";

const COUNTED = "socket.io-request#/#";

it("loses nothing and cuts nobody when each master changes places with its replica", { timeout: 120_000 }, async (t) => {
  const cluster = await redisClusterFor(t);
  const node = (node_id) => serverFor(t, { node_id, redis: { url: cluster.url } });
  const nodes = [await node("a"), await node("b")];
  const traffic = await Traffic.start(t, nodes);
  const masters = (await cluster.members()).filter(({ isMaster }) => isMaster);
  for (const { id, node } of (await cluster.members()).filter(({ isMaster }) => !isMaster)) {
    await node.text("CLUSTER", "FAILOVER");
    await until("it is a master", async () => (await cluster.members(node)).find((member) => member.id === id).isMaster, 20_000);
  }
  // What was a master is looked at at least once by whoever is linked to it.
  const sent = traffic.streams[0].sent;
  await until("some seconds have passed", () => traffic.streams[0].sent > sent + 200, 30_000);
  await traffic.flows();
  const { missing, cuts } = await traffic.result();
  assert.deepEqual({ missing, cuts }, { missing: [0, 0], cuts: [0, 0] });
  for (const { id, node } of masters) assert.equal((await cluster.members(node)).find((member) => member.id === id).isMaster, false);
  for (const server of nodes) assert.deepEqual(await troubles(server), []);
});

it("waits for whoever listens at a replica", { timeout: 120_000 }, async (t) => {
  const cluster = await redisClusterFor(t);
  const [admin] = await freePorts(1);
  await serverFor(t, { node_id: "a", admin_listen: `127.0.0.1:${admin}`, redis: { url: cluster.url, request_timeout: "1s" } });
  const complete = async () => {
    const response = await fetch(`http://127.0.0.1:${admin}/api/v1/rooms/x`, { signal: AbortSignal.timeout(10_000) });
    return response.status === 200 ? !(await response.json()).missing_nodes?.length : `status ${response.status}`;
  };
  await until("the node answers for itself", async () => (await complete()) === true, 15_000);
  const { node: replica } = (await cluster.members()).find(({ isMaster }) => !isMaster);
  // Somebody who is counted as a server and never answers.
  const listener = spawn("redis-cli", ["-p", String(replica.port), "SUBSCRIBE", COUNTED], { stdio: ["pipe", "ignore", "ignore"] });
  t.after(() => listener.kill());
  await until("it listens", async () => (await replica.listeners(COUNTED)) === 1);
  // The cluster names a replica once it is in step.
  await until("an answer without that server is not complete", async () => (await complete()) !== true, 15_000);
});

it("cuts off whoever missed something while a link was at a master that had been removed", { timeout: 120_000 }, async (t) => {
  const cluster = await redisClusterFor(t, { replicas: 0 });
  const node = (node_id) => serverFor(t, { node_id, redis: { url: cluster.url } });
  const nodes = [await node("a"), await node("b")];
  const traffic = await Traffic.start(t, nodes);
  const [gone, heir] = await cluster.members();
  const any = `127.0.0.1:${heir.node.port}`;
  await cluster.manage("reshard", any, "--cluster-from", gone.id, "--cluster-to", heir.id, "--cluster-slots", 16_384);
  await cluster.manage("del-node", any, gone.id);
  await traffic.flows(30_000);
  // The links that were there have left, and what follows from that is done.
  const sent = traffic.streams[0].sent;
  await until("some seconds have passed", () => traffic.streams[0].sent > sent + 400, 30_000);
  const { missing, cuts } = await traffic.result();
  const [a, b] = cuts;
  // What a client says in the moment in which it is cut off itself gets nowhere.
  assert.ok((missing[0] <= 2 * a || b > 0) && (missing[1] <= 2 * b || a > 0), `missing ${missing}, cut ${cuts}`);
});

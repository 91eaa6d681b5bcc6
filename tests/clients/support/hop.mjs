// Nodes behind a load balancer that knows nothing of sessions.

import { pollingUrl, rawSession } from "./raw.mjs";
import { freePorts, serverFor } from "./server.mjs";
import { redisFor } from "./redis.mjs";
import { until } from "./waiting.mjs";

/**
 * Nodes n1, n2, … on one Redis, once each knows where the others are. They end after the test `t`.
 * `config` is more of their configuration, or a function that gives it for a name.
 */
export async function nodesFor(t, { count = 3, config = {}, redis } = {}) {
  redis ??= await redisFor(t);
  const names = Array.from({ length: count }, (_, index) => `n${index + 1}`);
  const admin = await freePorts(count);
  const of = (name) => (typeof config === "function" ? config(name) : config);
  const start = async (name, index) => {
    const more = of(name);
    const server = await serverFor(t, { node_id: name, ...more, redis: { url: redis.url, ...more.redis }, admin_listen: `127.0.0.1:${admin[index]}` });
    server.adminPort = admin[index];
    return server;
  };
  const nodes = Object.fromEntries(await Promise.all(names.map(async (name, index) => [name, await start(name, index)])));
  await until(() => `every node has an address: ${Object.values(nodes).map(({ logs }) => logs).join("\n")}`, async () => {
    const listed = await addressesOf(nodes.n1);
    return names.every((name) => listed[name]);
  });
  return { redis, nodes };
}

/** The addresses of the nodes, as this node has them in its list. */
export async function addressesOf({ adminPort }) {
  const { nodes } = await (await fetch(`http://127.0.0.1:${adminPort}/api/v1/nodes`)).json();
  return Object.fromEntries((nodes ?? []).map(({ id, address }) => [id, address]));
}

/** The metrics of a node about the hop: `{ "switchboard_hop_tunnels": 0, … }`, labels included. */
export async function hopsOf({ adminPort }) {
  const text = await (await fetch(`http://127.0.0.1:${adminPort}/metrics`)).text();
  const lines = text.split("\n").filter((line) => line.startsWith("switchboard_hop_") || line.startsWith("switchboard_requests_refused"));
  return Object.fromEntries(lines.map((line) => [line.slice(0, line.lastIndexOf(" ")), Number(line.slice(line.lastIndexOf(" ")))]));
}

/** How many requests a node has sent to others, by outcome, of all kinds or of one. */
export function sentOf(hops, outcome, kind) {
  const fits = ([name]) => name.startsWith("switchboard_hop_requests_total") && name.includes(`outcome="${outcome}"`) && (!kind || name.includes(`kind="${kind}"`));
  return Object.entries(hops).filter(fits).reduce((sum, [, count]) => sum + count, 0);
}

/** Waits until a request of a session of each node is answered by way of each other one. */
export async function acquainted(nodes) {
  for (const owner of Object.values(nodes)) {
    for (const other of Object.values(nodes)) {
      await until("a session is found", async () => {
        const { sid } = await rawSession(owner);
        const ended = await fetch(pollingUrl(other, sid), { method: "POST", body: "1" });
        return ended.status === 200;
      });
    }
  }
}

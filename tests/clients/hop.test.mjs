// Any node takes any session id: clients behind a load balancer that sends each request to another node.

import assert from "node:assert/strict";
import { describe, it } from "node:test";

import { TRANSPORTS, ack, connect, disconnected, open, upgraded } from "./support/clients.mjs";
import { addressesOf, hopsOf, nodesFor, sentOf } from "./support/hop.mjs";
import { roundRobin } from "./support/round-robin.mjs";
import { until, within } from "./support/waiting.mjs";

const nodeOf = async (socket) => (await ack(socket, "whoami")).node;

/** So many clients, and the errors that they have met. */
async function crowd(t, front, count, transports, options = {}) {
  const failures = [];
  const sockets = await Promise.all(Array.from({ length: count }, async () => {
    const socket = await connect(t, front, { transports, ...options });
    socket.io.engine.on("close", (reason, error) => failures.push(`${reason}: ${error?.description ?? ""} ${error?.context?.statusText ?? ""}`));
    return socket;
  }));
  return { sockets, failures };
}

/** Each sends numbers and hears them come back. */
async function talk(sockets, rounds) {
  await Promise.all(sockets.map(async (socket) => {
    for (let number = 0; number < rounds; number++) assert.equal(await ack(socket, "events", number), number);
  }));
}

describe("a load balancer that sends each request to another node", { concurrency: 2 }, () => {
  for (const [kind, transports] of Object.entries(TRANSPORTS)) {
    it(`serves clients that use ${kind}`, { timeout: 120_000 }, async (t) => {
      const { nodes } = await nodesFor(t);
      const front = await roundRobin(t, Object.values(nodes));
      const { sockets, failures } = await crowd(t, front, 20, transports);
      if (transports.length > 1) await Promise.all(sockets.map(upgraded));
      await talk(sockets, 20);
      assert.deepEqual(failures, [], "nobody was turned away");
      const homes = new Set(await Promise.all(sockets.map(nodeOf)));
      assert.equal(homes.size, 3, "all nodes have clients");
      const hops = await Promise.all(Object.values(nodes).map(hopsOf));
      const forwarded = hops.reduce((sum, of) => sum + sentOf(of, "answered"), 0);
      t.diagnostic(`${forwarded} requests were forwarded`);
      assert.equal(forwarded > 0, transports[0] === "polling");
      if (transports.length > 1) assert.ok(hops.some((of) => of.switchboard_hop_tunnels > 0), "some are passed on");
      for (const of of hops) assert.equal(of['switchboard_requests_refused_total{reason="unknown_session"}'], 0);
      for (const socket of sockets) socket.close();
      await until("the tunnels end with their clients", async () => (await Promise.all(Object.values(nodes).map(hopsOf))).every((of) => of.switchboard_hop_tunnels === 0));
    });
  }
});

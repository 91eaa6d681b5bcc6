// An operator sends a user away, through one node's admin API: all of the user's sockets go, on all
// nodes, for good, and nobody else notices.

import assert from "node:assert/strict";
import { describe, it } from "node:test";

import { TRANSPORTS, ack, connectWith, disconnected } from "./support/clients.mjs";
import { redisFor } from "./support/redis.mjs";
import { freePorts, serverForThisFile } from "./support/server.mjs";
import { SECRET, token } from "./support/tokens.mjs";
import { until } from "./support/waiting.mjs";

const KEY = "a key of operators, for tests";

describe("a user who is sent away", async () => {
  const redis = await redisFor();
  const nodes = [];
  for (const [number, port] of (await freePorts(2)).entries()) {
    const config = { node_id: `node-${number}`, admin_listen: `127.0.0.1:${port}`, auth: { hs256_secret: SECRET }, users: { offline_after: "0s" } };
    const server = await serverForThisFile({ ...config, admin: { api_keys: [KEY] }, redis: { url: redis.url } });
    nodes.push({ server, api: `http://127.0.0.1:${port}/api/v1` });
  }

  const asked = async ({ api }, path, body) => {
    const headers = { Authorization: `Bearer ${KEY}`, "Content-Type": "application/json" };
    const response = await fetch(api + path, body ? { method: "POST", headers, body: JSON.stringify(body) } : { headers });
    return { status: response.status, ...(await response.json()) };
  };

  for (const [number, node] of nodes.entries()) {
    it(`through node ${number} loses the sockets on both nodes, and does not come back`, async (t) => {
      const [alice, bob] = [await token("alice"), await token("bob")];
      const tabs = { alice: [], bob: [] };
      for (const { server } of nodes) {
        for (const transports of Object.values(TRANSPORTS)) tabs.alice.push(await connectWith(t, server, alice, { transports, reconnection: true, reconnectionDelay: 50 }));
        tabs.bob.push(await connectWith(t, server, bob));
      }
      const attempts = [];
      for (const socket of tabs.alice) socket.io.on("reconnect_attempt", () => attempts.push(socket.id));
      const listed = (await asked(nodes[0], "/users/alice")).sockets.map(({ node }) => node).sort();
      assert.deepEqual(listed, [...Array(3).fill("node-0"), ...Array(3).fill("node-1")]);

      const gone = Promise.all(tabs.alice.map((socket) => disconnected(socket)));
      assert.deepEqual(await asked(node, "/users/alice/disconnect", { reason: "lost her badge" }), { status: 200, disconnected: 6 });
      assert.deepEqual(await gone, Array(6).fill("io server disconnect"));
      for (const each of nodes) {
        await until("alice is offline", async () => (await asked(each, "/users/alice")).online === false);
        assert.deepEqual((await asked(each, "/users/alice")).sockets, []);
      }
      assert.ok(tabs.alice.every((socket) => !socket.active), "a client that was sent away stays away");
      assert.deepEqual(attempts, []);

      for (const socket of tabs.bob) assert.equal((await ack(socket, "whoami")).user, "bob");
      assert.match(node.server.logs, /a user is disconnected.*user\.id="?alice/);
      assert.doesNotMatch(node.server.logs, new RegExp(alice.split(".")[2]), "no token in the log");
    });
  }

  it("is let in again while the token is good: who is to stay out needs another key, or a short token", async (t) => {
    const alice = await token("alice");
    const socket = await connectWith(t, nodes[0].server, alice);
    const gone = disconnected(socket);
    await asked(nodes[1], "/users/alice/disconnect", {});
    assert.equal(await gone, "io server disconnect");
    assert.equal((await ack(await connectWith(t, nodes[1].server, alice), "whoami")).user, "alice");
  });

  it("who is not there is no error, and without the key nobody is sent away", async (t) => {
    const socket = await connectWith(t, nodes[0].server, await token("carol"));
    assert.deepEqual(await asked(nodes[1], "/users/nobody/disconnect", {}), { status: 200, disconnected: 0 });
    const response = await fetch(`${nodes[1].api}/users/carol/disconnect`, { method: "POST", headers: { "Content-Type": "application/json" }, body: "{}" });
    assert.equal(response.status, 401);
    assert.equal((await ack(socket, "whoami")).user, "carol");
  });
});

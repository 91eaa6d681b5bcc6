// Each proxy of `deploy/proxies` in front of two nodes: every client gets through in its own way, and
// neither a drain nor a crash nor a Redis that is away turns anybody off for good.

import assert from "node:assert/strict";
import { describe, it } from "node:test";

import { Inbox, TRANSPORTS, ack, connect, disconnected, heard, open, upgraded } from "../clients/support/clients.mjs";
import { acquainted, hopsOf, nodesFor, sentOf } from "../clients/support/hop.mjs";
import { until, within } from "../clients/support/waiting.mjs";
import { KNOWING, PROXIES, proxyFor } from "./proxy.mjs";

const ROOM = "public:all";
// Long enough for what the proxies do about newcomers.
const GRACE = "2s";

async function scene(t, kind) {
  const drain = { grace: GRACE, spread: "500ms", timeout: "15s" };
  const { redis, nodes } = await nodesFor(t, { count: 2, config: { drain } });
  const proxy = await proxyFor(t, kind, [nodes.n1, nodes.n2]);
  return { redis, nodes, proxy };
}

const nodeOf = async (socket) => (await ack(socket, "whoami")).node;

/** A client that comes back by itself, as in real life, and knows what went wrong meanwhile. */
async function lasting(t, proxy, transports) {
  const socket = open(proxy, { transports, reconnection: true, reconnectionDelay: 50, reconnectionDelayMax: 200 });
  socket.failures = [];
  socket.on("connect_error", (error) => socket.failures.push(error.message));
  t.after(() => socket.close());
  await until("the client is connected", () => socket.connected, 10_000);
  return socket;
}

/** Newcomers one after the other while `story` goes on: the failures that they have met. */
async function newcomersDuring(t, proxy, story) {
  let over = false;
  const failures = [];
  const coming = (async () => {
    for (let count = 0; !over; count++) {
      const socket = await lasting(t, proxy, Object.values(TRANSPORTS)[count % 3]);
      // One that got in just before the drain begins may be moved before it has its answer.
      await Promise.race([ack(socket, "whoami"), disconnected(socket)]);
      failures.push(...socket.failures);
      socket.close();
    }
  })();
  await story().finally(() => (over = true));
  await within(20_000, "the last newcomer is in", coming);
  return failures;
}

/** A crowd of each transport, on both nodes. */
async function crowd(t, proxy) {
  const sockets = [];
  const kinds = [...Object.values(TRANSPORTS), ...Object.values(TRANSPORTS), ...Object.values(TRANSPORTS)];
  for (const transports of kinds) sockets.push(await lasting(t, proxy, transports));
  return sockets;
}

for (const kind of PROXIES) {
  describe(kind, { concurrency: 1 }, () => {
    it("brings every client to a node and keeps it there, whatever its transport", async (t) => {
      const { nodes, proxy } = await scene(t, kind);
      const sockets = await crowd(t, proxy);
      for (const socket of sockets.filter(({ io }) => io.opts.transports.length === 2)) await upgraded(socket);
      const homes = new Set();
      for (const socket of sockets) {
        const home = await nodeOf(socket);
        homes.add(home);
        assert.equal(await nodeOf(socket), home);
        assert.deepEqual(await ack(socket, "join", ROOM), { ok: true, room: ROOM });
        assert.deepEqual(socket.failures, []);
      }
      assert.deepEqual([...homes].sort(), ["n1", "n2"], "both nodes have clients");

      // From one to all the others, over both nodes.
      const everybody = sockets.slice(1).map((socket) => heard(socket, "hello"));
      assert.deepEqual(await ack(sockets[0], "publish", { room: ROOM, event: "hello", data: "to all" }), { ok: true });
      for (const [{ data }] of await Promise.all(everybody)) assert.equal(data, "to all");

      // As large as may be.
      const large = "x".repeat(900_000);
      for (const transports of Object.values(TRANSPORTS)) {
        assert.equal(await ack(await connect(t, proxy, { transports }), "events", large), large, transports.join());
      }
      const hops = await Promise.all(Object.values(nodes).map(hopsOf));
      const forwarded = hops.reduce((sum, of) => sum + sentOf(of, "answered"), 0);
      t.diagnostic(`${forwarded} requests were forwarded`);
      assert.equal(forwarded === 0, KNOWING.includes(kind));
    });

    it("moves everybody when a node drains, and turns no newcomer away", async (t) => {
      const { nodes, proxy } = await scene(t, kind);
      const sockets = await crowd(t, proxy);
      const failures = await newcomersDuring(t, proxy, async () => {
        nodes.n1.signal("SIGTERM");
        await within(20_000, "the node ends", nodes.n1.exited);
      });
      assert.deepEqual(failures, [], "a newcomer has heard of the drain");
      for (const socket of sockets) {
        await until("the client is somewhere", () => socket.connected, 10_000);
        assert.equal(await nodeOf(socket), "n2");
      }
      assert.deepEqual(sockets.flatMap((socket) => socket.failures), [], "whoever is moved finds the other node");
    });

    it("brings everybody back when a node dies", async (t) => {
      const { nodes, proxy } = await scene(t, kind);
      const sockets = await crowd(t, proxy);
      await nodes.n1.kill();
      const killed = Date.now();
      for (const socket of sockets) {
        // A client of the other node is cut, too, if its connection went through this one.
        await until("the client is back", async () => socket.connected && (await Promise.race([nodeOf(socket), disconnected(socket)])) === "n2", 20_000);
      }
      t.diagnostic(`${kind}: everybody is back ${Date.now() - killed} ms after the crash`);
    });

    it("lets those who are connected go on while Redis is away", async (t) => {
      const { redis, nodes, proxy } = await scene(t, kind);
      const sockets = await crowd(t, proxy);
      const inboxes = sockets.map((socket) => new Inbox(socket));
      await acquainted(nodes);
      await redis.kill();
      for (const node of Object.values(nodes)) await until("the node is not ready", async () => (await node.get("/readyz")).status === 503, 15_000);
      // Longer than any of the proxies needs to notice.
      for (const end = Date.now() + 3_000; Date.now() < end; ) {
        for (const socket of sockets) assert.equal(await ack(socket, "events", "still here"), "still here");
      }
      assert.ok(inboxes.every((inbox) => inbox.of("events").length > 0));
      assert.deepEqual(sockets.flatMap(({ failures }) => failures), []);
      await redis.start();
      for (const node of Object.values(nodes)) await until("the node is ready again", async () => (await node.get("/readyz")).status === 200, 15_000);
      await newcomersDuring(t, proxy, async () => {});
    });
  });
}

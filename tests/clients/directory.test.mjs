// The user directory of a cluster on bad days of its Redis: what the operators' API and /readyz say,
// and what clients hear.

import assert from "node:assert/strict";
import { describe, it } from "node:test";

import { connectWith, disconnected, upgraded } from "./support/clients.mjs";
import { redisFor } from "./support/redis.mjs";
import { freePorts, serverFor } from "./support/server.mjs";
import { SECRET, token } from "./support/tokens.mjs";
import { until } from "./support/waiting.mjs";

async function nodeFor(t, redis, name, { users = {}, key_prefix } = {}) {
  const [admin] = await freePorts(1);
  const server = await serverFor(t, {
    auth: { hs256_secret: SECRET },
    node_id: name,
    admin_listen: `127.0.0.1:${admin}`,
    users: { offline_after: "0s", ...users },
    redis: { url: redis.url, ...(key_prefix && { key_prefix }) },
  });
  server.api = async (path, body) => {
    const options = { method: body ? "POST" : "GET", body: body && JSON.stringify(body), headers: { "content-type": "application/json" } };
    const response = await fetch(`http://127.0.0.1:${admin}/api/v1${path}`, { ...options, signal: AbortSignal.timeout(20_000) });
    return { status: response.status, body: await response.json() };
  };
  server.isOnline = async (user) => (await server.api(`/users/${user}`)).body.online;
  server.metrics = async () => (await fetch(`http://127.0.0.1:${admin}/metrics`)).text();
  server.ready = async () => {
    const response = await server.get("/readyz");
    return { status: response.status, reasons: (await response.json()).reasons ?? [] };
  };
  server.times = (text) => server.logs.split(text).length - 1;
  return server;
}

const both = async (t, redis, options) => [await nodeFor(t, redis, "a", options), await nodeFor(t, redis, "b", options)];

describe("what keeps Redis from its work", { concurrency: 3 }, () => {
  const cases = {
    OOM: { begin: ["CONFIG", "SET", "maxmemory", "1"], end: ["CONFIG", "SET", "maxmemory", "0"] },
    NOREPLICAS: { begin: ["CONFIG", "SET", "min-replicas-to-write", "1"], end: ["CONFIG", "SET", "min-replicas-to-write", "0"] },
  };
  for (const [code, { begin, end }] of Object.entries(cases)) {
    it(`is named by a node with users and by one without: ${code}`, { timeout: 120_000 }, async (t) => {
      const redis = await redisFor(t);
      const [a, idle] = await both(t, redis);
      await connectWith(t, a, await token("alice"));
      await until("she is listed", () => idle.isOnline("alice"));
      await redis.cli(...begin);
      // At once: whoever comes now cannot be listed.
      for (const path of ["/users/eve", "/users"]) assert.equal((await idle.api(path)).body.error?.code, "unavailable", path);
      for (const node of [a, idle]) {
        await until("it is named", async () => (await node.ready()).reasons.some((reason) => reason.startsWith(`user directory: ${code}: `)), 15_000);
        assert.equal((await node.ready()).status, 503);
        for (const path of ["/users/eve", "/users", "/nodes"]) assert.equal((await node.api(path)).status, 503, path);
        assert.equal((await node.api("/users/online", { ids: ["alice", "eve"] })).status, 503);
      }
      assert.deepEqual((await a.api("/users/online", { ids: ["alice"] })).body.online, { alice: true }, "she is connected to it");
      await redis.cli(...end);
      for (const node of [a, idle]) {
        await until("it is ready again", async () => (await node.ready()).status === 200, 15_000);
        await until("she is listed", () => node.isOnline("alice"), 15_000);
        assert.equal((await node.api("/users/eve")).body.online, false);
        await until("the end is logged", () => node.times("the user directory in Redis works again") === 1, 15_000);
        assert.equal(node.times("the user directory in Redis does not work"), 1, node.logs);
        assert.equal(node.times(`${code}: `), 1, node.logs);
      }
    });
  }
});

describe("a Redis that loses data", { concurrency: 3 }, () => {
  it("makes nobody offline who is connected", { timeout: 120_000 }, async (t) => {
    const redis = await redisFor(t);
    const [a, b] = await both(t, redis);
    await connectWith(t, a, await token("alice"));
    for (const node of [a, b]) await until("she is listed", () => node.isOnline("alice"));
    await redis.cli("FLUSHALL");
    let unknown = 0;
    for (const node of [a, b]) {
      await until("it is known again", async () => {
        const [user, online] = [await node.api("/users/alice"), await node.api("/users/online", { ids: ["alice"] })];
        assert.ok(user.status === 503 || user.body.online, JSON.stringify(user.body));
        assert.ok(online.status === 503 || online.body.online.alice, JSON.stringify(online.body));
        if (node === a) assert.equal(online.status, 200, "who is connected here is known here");
        unknown += user.status === 503;
        return user.status === 200;
      }, 20_000);
    }
    assert.ok(unknown > 0, "it was lost");
  });

  it("because it evicts keys is warned of when the link is made", { timeout: 30_000 }, async (t) => {
    const redis = await redisFor(t);
    await redis.cli("CONFIG", "SET", "maxmemory", "100mb");
    const harmless = await nodeFor(t, redis, "a");
    await redis.cli("CONFIG", "SET", "maxmemory-policy", "allkeys-lru");
    const warned = await nodeFor(t, redis, "b");
    await until("it is said", () => warned.times("allkeys-lru") === 1 && warned.times("maxmemory-policy noeviction") === 1);
    assert.equal(harmless.times("maxmemory-policy"), 0);
  });
});

describe("a limit that two nodes could not see while Redis was away", { concurrency: 3 }, () => {
  for (const over_limit of ["reject", "disconnect_oldest"]) {
    it(`holds again when it is back: ${over_limit}`, { timeout: 120_000 }, async (t) => {
      const redis = await redisFor(t);
      const [a, b] = await both(t, redis, { users: { max_sockets: 1, over_limit } });
      await until("they know each other", async () => (await a.api("/nodes")).body.nodes?.length === 2);
      await redis.kill();
      await until("they are alone", async () => (await a.ready()).status === 503 && (await b.ready()).status === 503, 15_000);
      const older = await connectWith(t, a, await token("alice"));
      const younger = await connectWith(t, b, await token("alice"));
      const [goes, stays] = over_limit === "reject" ? [younger, older] : [older, younger];
      const gone = disconnected(goes, 30_000);
      let others = 0;
      stays.on("disconnect", () => (others += 1));
      const id = stays.id;
      await redis.start();
      assert.equal(await gone, "io server disconnect");
      for (const node of [a, b]) {
        await until("one is listed", async () => {
          const { sockets } = (await node.api("/users/alice")).body;
          return sockets?.length === 1 && sockets[0].id === id;
        }, 20_000);
      }
      assert.deepEqual([others, stays.connected, goes.connected], [0, true, false]);
      assert.equal(a.times("admitted by nodes that were without Redis") + b.times("admitted by nodes that were without Redis"), 1);
    });
  }
});

describe("the directory", { concurrency: 3 }, () => {
  it("names the transport that a socket has by now", { timeout: 30_000 }, async (t) => {
    const redis = await redisFor(t);
    const [a, b] = await both(t, redis);
    const alone = await nodeFor(t, { url: "" }, "c");
    const transport = async (node) => (await node.api("/users/alice")).body.sockets?.[0]?.transport;
    const polls = await connectWith(t, a, await token("bob"), { transports: ["polling"] });
    for (const node of [a, alone]) {
      const socket = await connectWith(t, node, await token("alice"), { transports: ["polling", "websocket"] });
      await upgraded(socket);
      await until("its node knows", async () => (await transport(node)) === "websocket");
    }
    await until("the other node knows", async () => (await transport(b)) === "websocket", 15_000);
    assert.equal((await b.api(`/users/bob`)).body.sockets[0].transport, "polling");
    assert.equal(polls.connected, true);
  });

  it("of another prefix is another one, and a healthy start is no trouble", { timeout: 30_000 }, async (t) => {
    const redis = await redisFor(t);
    const limited = { users: { max_sockets: 1 } };
    const [production, staging] = [await nodeFor(t, redis, "a", { ...limited, key_prefix: "production" }), await nodeFor(t, redis, "b", { ...limited, key_prefix: "staging" })];
    const alice = await connectWith(t, production, await token("alice"));
    assert.equal(await staging.isOnline("alice"), false);
    await connectWith(t, staging, await token("alice"));
    for (const node of [production, staging]) assert.equal((await node.api("/users/alice")).body.sockets.length, 1);
    const gone = disconnected(alice);
    assert.deepEqual((await production.api("/users/alice/disconnect", {})).body, { disconnected: 1 });
    await gone;
    assert.equal(await staging.isOnline("alice"), true);
    for (const node of [production, staging]) assert.match(await node.metrics(), /switchboard_directory_troubles_total\{kind="failure"\} 0/);
    for (const key of await redis.cli("KEYS", "*")) assert.match(key, /^switchboard:(production|staging):\{/);
  });
});

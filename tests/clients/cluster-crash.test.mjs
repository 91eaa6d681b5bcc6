// Nodes come and go: by a crash, in good order, and before Redis is there.

import assert from "node:assert/strict";
import { describe, it } from "node:test";

import { ack, connect, connectWith, disconnected, refusal } from "./support/clients.mjs";
import { Cluster } from "./support/cluster.mjs";
import { RedisServer } from "./support/redis.mjs";
import { freePorts, runBinary, serverFor } from "./support/server.mjs";
import { Stream } from "./support/steady.mjs";
import { SECRET, token } from "./support/tokens.mjs";
import { until } from "./support/waiting.mjs";

/** A node's lease, and the time that the others may take to see that it is over. */
const [LEASE, SWEEP] = [15_000, 8_000];

describe("a node ends", { concurrency: 2 }, () => {
  it("by kill -9: its users are gone when its lease is over, and all else goes on", { timeout: 120_000 }, async (t) => {
    const cluster = await Cluster.start(t, { ours: ["a", "b"], nodes: { n: {} }, config: { users: { max_sockets: 3 } } });
    const { servers: { a, b, n }, redis } = cluster;
    const alice = await token("alice");
    const [first, listener, foreign] = [await connectWith(t, a, alice), await connect(t, a), await connect(t, n)];
    const lost = [await connectWith(t, b, alice), await connectWith(t, b, alice)].map((socket) => disconnected(socket));
    await until("three are listed", async () => (await redis.listedSockets()) === 3);
    assert.match((await refusal(t, a, { auth: { token: alice } })).message, /^too_many_sockets/);
    const stream = await Stream.start(t, first, { listener, foreign });
    await stream.flows("foreign");

    await b.kill();
    const since = performance.now();
    await Promise.all(lost);
    // Redis knows at once that its connections are gone: no question waits for the dead node.
    await cluster.complete(2);
    t.diagnostic(`not counted any more after ${Math.round(performance.now() - since)} ms`);
    const ids = await n.run(async (io) => (await io.fetchSockets()).map(({ id }) => id));
    assert.deepEqual(ids.sort(), [first.id, listener.id, foreign.id].sort());

    await until("its users are gone", async () => (await redis.listedSockets()) === 1, LEASE + SWEEP);
    const took = Math.round(performance.now() - since);
    t.diagnostic(`its users are gone after ${took} ms`);
    // The last renewal may have been just before or a beat before the end.
    assert.ok(took > LEASE / 2, `it is not given up early: ${took} ms`);
    for (let n = 0; n < 2; n++) await connectWith(t, a, alice);
    assert.match((await refusal(t, a, { auth: { token: alice } })).message, /^too_many_sockets/);
    await stream.stop();
    for (const name of ["listener", "foreign"]) t.diagnostic(`${name}: the longest way took ${await stream.assertWhole(name)} ms`);
  });

  it("by SIGTERM: its users and it are gone at once, and it ends with code 0", { timeout: 120_000 }, async (t) => {
    const cluster = await Cluster.start(t, { nodes: { n: {} }, config: { drain: { timeout: "5s", spread: "0s" } } });
    const { servers: { a, b, n }, redis } = cluster;
    const [stays, goes] = [await connectWith(t, a, await token("alice")), await connectWith(t, b, await token("bob"))];
    await until("both are listed", async () => (await redis.listedSockets()) === 2);
    const reason = disconnected(goes);
    const since = performance.now();
    const ended = b.stop();
    // At the transport, so that the client comes back, to another node.
    assert.equal(await reason, "transport close");
    assert.deepEqual(await ended, { code: 0, signal: null });
    await until("it is not listed", async () => (await redis.listedSockets()) === 1, LEASE / 2);
    t.diagnostic(`gone after ${Math.round(performance.now() - since)} ms`);
    await cluster.complete(2);
    assert.deepEqual(await n.run(async (io) => (await io.fetchSockets()).map(({ id }) => id)), [stays.id]);
  });

  it("no: it was only stopped, for longer than its lease; its users are there again", { timeout: 120_000 }, async (t) => {
    const cluster = await Cluster.start(t, {});
    const { servers: { a, b }, redis } = cluster;
    const [alice, bob] = [await connectWith(t, a, await token("alice")), await connectWith(t, b, await token("bob"))];
    const stream = await Stream.start(t, alice, { remote: bob, local: await connect(t, a) });
    await stream.flows("remote");
    b.signal("SIGSTOP");
    t.after(() => b.signal("SIGCONT"));
    await until("the others have given it up", async () => (await redis.listedSockets()) === 1, LEASE + SWEEP);
    b.signal("SIGCONT");
    const since = performance.now();
    await until("its user is listed again", async () => (await redis.listedSockets()) === 2, 15_000);
    t.diagnostic(`listed again after ${Math.round(performance.now() - since)} ms`);
    await stream.flows("remote");
    await stream.stop();
    await stream.assertWhole("local");
    t.diagnostic(`${stream.assertOrdered("remote")} did not reach the node that was stopped`);
    assert.equal((await ack(bob, "whoami")).user, "bob");
  });

  it("and comes back: it is counted once, and hears of everything", { timeout: 120_000 }, async (t) => {
    const cluster = await Cluster.start(t, { nodes: { n: {} } });
    const { b } = cluster.servers;
    await b.kill();
    cluster.servers.b = await serverFor(t, { ...cluster.config, node_id: "b" });
    await cluster.complete();
    const crew = await cluster.crew(t);
    await cluster.servers.n.run((io) => void io.emit("says", "welcome back"));
    assert.deepEqual(await crew.heard(), Object.fromEntries(["a", "b", "n"].map((name) => [name, [["says", "welcome back"]]])));
  });
});

describe("Redis comes back", { concurrency: 2 }, () => {
  const clusters = {
    "the classic adapter": { protocol: "classic", nodes: { n: { client: "redis" }, m: { client: "ioredis" } } },
    "the sharded adapter": { protocol: "sharded", nodes: { n: { client: "redis" } } },
  };
  for (const [name, options] of Object.entries(clusters)) {
    it(`Node.js servers with ${name} and Switchboard nodes find each other again, questions included`, { timeout: 120_000 }, async (t) => {
      const cluster = await Cluster.start(t, options);
      const crew = await cluster.crew(t);
      const room = "public:still here";
      await crew.join(room, ...crew.names);
      // By its words a node knows that there is a server of the other kind, which may not be back in time.
      await crew.publish("n", room, "before");
      await crew.heard("n");
      await cluster.redis.kill({ forgets: true });
      await until("a node notices", async () => (await cluster.servers.a.get("/readyz")).status === 503);
      await cluster.redis.start();
      const since = performance.now();
      await cluster.complete();
      // Nobody can tell what the Node.js servers have said meanwhile.
      await crew.comeBack(cluster.ours, [room]);
      await cluster.listened(room, crew.names);
      t.diagnostic(`complete again after ${Math.round(performance.now() - since)} ms`);
      for (const name of crew.names) crew[name].on("question", (ack) => ack(name));
      for (const sender of [...cluster.nodes, "a", "b"]) {
        await crew.publish(sender, room, sender);
        const others = crew.names.filter((name) => name !== sender);
        const expected = ["says", { room, from: null, data: sender }];
        assert.deepEqual(await crew.heard(sender), Object.fromEntries(others.map((name) => [name, [expected]])));
      }
      assert.deepEqual((await cluster.servers.n.run((io) => io.timeout(10_000).emitWithAck("question"))).sort(), [...crew.names].sort());
      assert.equal(await cluster.servers.n.run(async (io) => (await io.fetchSockets()).length), crew.names.length);
    });
  }
});

describe("Redis is not there at the start", () => {
  it("the server ends with code 1, and names the address without the password", async () => {
    const [listen, port] = await freePorts(2);
    for (const protocol of ["classic", "sharded"]) {
      const config = { listen: `127.0.0.1:${listen}`, redis: { url: `redis://app:s3cr3t@127.0.0.1:${port}`, protocol } };
      const { code, stdout, stderr } = await runBinary(["serve"], { config });
      assert.equal(code, 1, stderr);
      assert.match(stdout + stderr, new RegExp(`127\\.0\\.0\\.1:${port}`));
      assert.doesNotMatch(stdout + stderr, /s3cr3t/);
    }
  });

  it("the server ends with code 1 when Redis refuses the password", async (t) => {
    const redis = await RedisServer.prepared({ password: "s3cr3t" });
    t.after(() => redis.end());
    await redis.start();
    const [listen] = await freePorts(1);
    const { code, stdout, stderr } = await runBinary(["serve"], { config: { listen: `127.0.0.1:${listen}`, redis: { url: `redis://:wr0ng@127.0.0.1:${redis.port}` } } });
    assert.equal(code, 1, stderr);
    assert.doesNotMatch(stdout + stderr, /wr0ng|s3cr3t/);
  });

  it("with --wait-for-redis it serves, and joins the cluster when it can", { timeout: 120_000 }, async (t) => {
    const redis = await RedisServer.prepared({ password: "s3cr3t" });
    t.after(() => redis.end());
    const config = { auth: { hs256_secret: SECRET }, redis: { url: `redis://:s3cr3t@127.0.0.1:${redis.port}` } };
    const start = (name) => serverFor(t, { ...config, node_id: name }, { args: ["--wait-for-redis"] });
    const [a, b] = [await start("a"), await start("b")];
    const response = await a.get("/readyz");
    assert.equal(response.status, 503);
    const { reasons } = await response.json();
    assert.match(reasons.join(), /^redis link down: nobody listens at 127\.0\.0\.1:\d+$/);

    const [sender, local, remote] = [await connectWith(t, a, await token("alice")), await connect(t, a), await connect(t, b)];
    const stream = await Stream.start(t, sender, { local, remote });
    t.diagnostic(`within the node the first one took ${await stream.flows("local")} ms`);

    await redis.start();
    const since = performance.now();
    for (const server of [a, b]) await until("it is ready", async () => (await server.get("/readyz")).status === 200, 15_000);
    await stream.flows("remote");
    t.diagnostic(`part of the cluster after ${Math.round(performance.now() - since)} ms`);
    await until("its user is listed", async () => (await redis.listedSockets()) === 1, 15_000);
    await stream.stop();
    await stream.assertWhole("local");
    stream.assertOrdered("remote");
    assert.ok((await ack(remote, "whoami")).socket);
    for (const server of [a, b]) {
      assert.doesNotMatch(server.logs, /s3cr3t/);
      for (const link of ["frames", "commands"]) {
        assert.equal(server.logs.split("\n").filter((line) => line.includes("is down") && line.includes(`link="${link}"`)).length, 1, server.logs);
      }
    }
  });
});

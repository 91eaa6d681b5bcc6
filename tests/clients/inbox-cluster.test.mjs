// Messages that wait for users, on three nodes that share a Postgres and a Redis: whatever becomes of
// nodes, of the database and of the connections, each device gets each message, in order.

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { setTimeout as pause } from "node:timers/promises";

import { ack, connect } from "./support/clients.mjs";
import { BackEnd, Device } from "./support/kept.mjs";
import { postgresFor } from "./support/postgres.mjs";
import { redisFor } from "./support/redis.mjs";
import { freePorts, serverFor } from "./support/server.mjs";
import { SECRET, token } from "./support/tokens.mjs";
import { until } from "./support/waiting.mjs";

const note = (...args) => ({ event: "note", args });
const range = (from, to) => Array.from({ length: to - from + 1 }, (_, n) => from + n);

/** Three nodes, or as many as there are names. */
async function cluster(t, { names = ["a", "b", "c"], url, inbox } = {}) {
  const postgres = url ? undefined : await postgresFor(t);
  const redis = await redisFor(t);
  const nodes = {};
  for (const name of names) {
    const [port] = await freePorts(1);
    const config = {
      node_id: name,
      admin_listen: `127.0.0.1:${port}`,
      auth: { hs256_secret: SECRET },
      redis: { url: redis.url },
      store: { url: url ?? postgres.url },
      inbox: { enabled: true, ...inbox },
      engine: { ping_interval: "1s", ping_timeout: "1s" },
    };
    const start = () => serverFor(t, config);
    nodes[name] = { start, backEnd: new BackEnd(port), server: await start() };
  }
  return { postgres, redis, nodes };
}

/**
 * A device that connects to another node whenever its connection is lost, and ignores numbers that it has handled:
 * what the page says a client has to do.
 */
class Wanderer {
  handled = [];
  repeated = 0;
  highest = 0;
  connections = 0;

  constructor(t, user, device, servers) {
    Object.assign(this, { t, user, device, servers });
    t.after(() => this.stop());
  }

  async run() {
    while (!this.stopped) {
      const servers = this.servers();
      const server = servers[this.connections++ % servers.length];
      try {
        const auth = { token: await token(this.user), device: this.device, inbox: true };
        const onOpen = (socket) => socket.on("note", (value, seq, done) => this.receive(value, seq, done));
        this.socket = await connect(this.t, server, { auth, onOpen, timeout: 3000 });
        if (this.socket.connected) await new Promise((left) => this.socket.once("disconnect", left));
      } catch {
        await pause(50);
      }
    }
  }

  receive(value, seq, done) {
    if (seq > this.highest) {
      this.handled.push(value);
      this.highest = seq;
    } else {
      this.repeated++;
    }
    // A desk takes its time, so that connections end before its answer.
    if (this.device === "desk") setTimeout(done, 10);
    else done();
  }

  cut() {
    this.socket?.io.engine.close();
  }

  stop() {
    this.stopped = true;
    this.socket?.close();
  }
}

/** Keeps a message whatever happens: again, with the same id, until somebody says that it is kept. */
async function keepSurely(backEnds, user, n) {
  for (let attempt = 0; ; attempt++) {
    const backEnd = backEnds[(n + attempt) % backEnds.length];
    const { status } = await backEnd.keep(user, { ...note(n), id: `m${n}` }).catch(() => ({ status: 0 }));
    if (status === 202 || status === 200) return;
    assert.ok(status === 0 || status === 503, `status ${status}`);
    assert.ok(attempt < 500, "it is kept at some time");
    await pause(50);
  }
}

describe("on several nodes", () => {
  it("a message kept by one node comes by another one, without a look into the store", async (t) => {
    const { nodes } = await cluster(t, { names: ["a", "b"] });
    const phone = await Device.open(t, nodes.b.server, "bob");
    await until("it is known", async () => "" in (await nodes.a.backEnd.inbox("bob")).devices);
    for (const n of range(1, 20)) await nodes.a.backEnd.kept("bob", note(n));
    assert.deepEqual(await phone.has(20), range(1, 20));
    await until("all are acknowledged", async () => (await nodes.a.backEnd.inbox("bob")).devices[""] === 20);
    assert.match(await nodes.a.backEnd.metrics(), /switchboard_inbox_unsaid_total 0/);
  });

  it("one node delivers to a device, and if its socket leaves, another one takes over at once", async (t) => {
    const { nodes } = await cluster(t, { names: ["a", "b"] });
    const first = await Device.open(t, nodes.a.server, "bob", { acknowledges: false });
    await until("it is known", async () => "" in (await nodes.a.backEnd.inbox("bob")).devices);
    await nodes.b.backEnd.kept("bob", note(1));
    await first.has(1);
    const second = await Device.open(t, nodes.b.server, "bob");
    await nodes.b.backEnd.kept("bob", note(2));
    await first.has(2);
    assert.deepEqual(second.got, []);
    const left = Date.now();
    first.close();
    assert.deepEqual(await second.has(2), [1, 2]);
    t.diagnostic(`taken over after ${Date.now() - left} ms`);
  });

  it("a device that moves goes on where it was", async (t) => {
    const { nodes } = await cluster(t, { names: ["a", "b"] });
    const servers = [nodes.a.server, nodes.b.server];
    let next = 1;
    for (const round of range(0, 5)) {
      const phone = await Device.open(t, servers[round % 2], "bob");
      for (const n of range(next, next + 4)) await nodes.a.backEnd.kept("bob", note(n));
      assert.deepEqual(await phone.has(5), range(next, next + 4));
      next += 5;
      phone.close();
    }
  });

  it("a node that is killed is replaced within its lease", async (t) => {
    const { nodes } = await cluster(t, { names: ["a", "b"] });
    const first = await Device.open(t, nodes.a.server, "bob", { acknowledges: false });
    await until("it is known", async () => "" in (await nodes.b.backEnd.inbox("bob")).devices);
    await nodes.b.backEnd.kept("bob", note(1));
    await first.has(1);
    const killed = Date.now();
    await nodes.a.server.kill();
    const second = await Device.open(t, nodes.b.server, "bob");
    await until("the other node takes over", () => second.got.length === 1, 30_000);
    assert.ok(Date.now() - killed < 28_000, `${Date.now() - killed} ms`);
  });
});

describe("whatever happens", () => {
  it("each device gets each message once, in order", async (t) => {
    const { postgres, nodes } = await cluster(t);
    const servers = () => Object.values(nodes).map(({ server }) => server);
    const backEnds = Object.values(nodes).map(({ backEnd }) => backEnd);
    const users = ["ada", "bob", "eve"];
    const wanderers = users.flatMap((user) => ["phone", "desk"].map((device) => new Wanderer(t, user, device, servers)));
    wanderers.forEach((wanderer) => wanderer.run());
    for (const user of users) {
      await until("both devices are known", async () => Object.keys((await backEnds[0].inbox(user)).devices).length === 2);
    }
    const total = Number(process.env.MESSAGES ?? 120);
    const keeping = users.map(async (user) => {
      for (const n of range(1, total)) await keepSurely(backEnds, user, n);
    });
    let isOver = false;
    const all = Promise.all(keeping).finally(() => (isOver = true));
    const cutting = (async () => {
      for (let n = 0; !isOver; n++) {
        wanderers[n % wanderers.length].cut();
        await pause(20);
      }
    })();
    const trouble = (async () => {
      for (const name of ["a", "b"]) {
        await pause(300);
        await nodes[name].server.kill();
        nodes[name].server = await nodes[name].start();
      }
      nodes.c.server.signal("SIGSTOP");
      await pause(1000);
      nodes.c.server.signal("SIGCONT");
      await postgres.kill();
      await pause(300);
      await postgres.restart();
    })();
    await Promise.all([all, cutting, trouble]);
    for (const wanderer of wanderers) {
      const missing = () => `${wanderer.user} ${wanderer.device} has ${wanderer.handled.length} of ${total}`;
      await until(missing, () => wanderer.handled.length >= total, 60_000);
    }
    for (const wanderer of wanderers) assert.deepEqual(wanderer.handled, range(1, total), `${wanderer.user} ${wanderer.device}`);
    const repeated = wanderers.reduce((sum, wanderer) => sum + wanderer.repeated, 0);
    const connections = wanderers.reduce((sum, wanderer) => sum + wanderer.connections, 0);
    t.diagnostic(`${wanderers.length * total} messages over ${connections} connections: none lost, none out of order, ${repeated} repeated`);
  });

  it("a standby takes the place of the database", async (t) => {
    const primary = await postgresFor(t);
    const standby = await postgresFor(t, { primary });
    // What was confirmed is on both.
    await primary.sql("ALTER SYSTEM SET synchronous_standby_names = '*'");
    await primary.sql("SELECT pg_reload_conf()");
    await until("it is synchronous", async () => (await primary.sql("SELECT sync_state FROM pg_stat_replication")) === "sync");
    const url = `postgres://postgres@127.0.0.1:${primary.port},127.0.0.1:${standby.port}/postgres?target_session_attrs=read-write`;
    const { nodes } = await cluster(t, { names: ["a", "b"], url });
    const backEnds = [nodes.a.backEnd, nodes.b.backEnd];
    const phone = new Wanderer(t, "bob", "phone", () => [nodes.a.server, nodes.b.server]);
    phone.run();
    await until("the device is known", async () => "phone" in (await nodes.a.backEnd.inbox("bob")).devices);
    const keeping = (async () => {
      for (const n of range(1, 200)) await keepSurely(backEnds, "bob", n);
    })();
    await until("some are there", () => phone.handled.length > 50);
    await primary.kill();
    await standby.promote();
    // Nobody follows the new one.
    await standby.sql("ALTER SYSTEM RESET synchronous_standby_names");
    await standby.sql("SELECT pg_reload_conf()");
    await keeping;
    await until(() => `all are there, and not ${phone.handled.length}`, () => phone.handled.length >= 200, 40_000);
    assert.deepEqual(phone.handled, range(1, 200));
    assert.equal(phone.connections, 1, "the socket stayed");
  });

  it("the store is away: sockets stay, and what was refused may be said again", async (t) => {
    const { postgres, nodes } = await cluster(t, { names: ["a"] });
    const phone = await Device.open(t, nodes.a.server, "bob");
    await nodes.a.backEnd.kept("bob", note(1));
    await phone.has(1);
    await postgres.kill();
    const away = await nodes.a.backEnd.keep("bob", { ...note(2), id: "2" });
    assert.deepEqual([away.status, away.body.error.code], [503, "unavailable"]);
    assert.equal((await nodes.a.backEnd.ask("GET", "/users/bob/inbox")).status, 503);
    assert.ok(phone.socket.connected);
    await until("the metrics tell", async () => /switchboard_inbox_store_up 0/.test(await nodes.a.backEnd.metrics()));
    const readiness = await nodes.a.server.get("/readyz");
    assert.equal(readiness.status, 503);
    assert.deepEqual((await readiness.json()).reasons, ["store: the inbox waits for it"]);
    await postgres.restart();
    await until("it is kept", async () => [200, 202].includes((await nodes.a.backEnd.keep("bob", { ...note(2), id: "2" })).status));
    assert.deepEqual(await phone.has(2), [1, 2]);
    assert.ok(phone.socket.connected, "all the time");
    await until("the node is ready again", async () => (await nodes.a.server.get("/readyz")).status === 200);
    assert.equal(nodes.a.server.logs.match(/the inbox waits for the store/g).length, 1, "it is logged once");
  });

  it("the store hangs: a device that leaves and comes back meanwhile goes on where it was", async (t) => {
    const { postgres, nodes } = await cluster(t, { names: ["a"] });
    const first = await Device.open(t, nodes.a.server, "bob", { acknowledges: false });
    for (const n of range(1, 4)) await nodes.a.backEnd.kept("bob", note(n));
    await first.has(4);
    await postgres.pause();
    first.unanswered.splice(0, 3).forEach((answer) => answer());
    await ack(first.socket, "whoami");
    first.close();
    const second = await Device.open(t, nodes.a.server, "bob");
    await until("the node is not ready", async () => (await nodes.a.server.get("/readyz")).status === 503, 15_000);
    await postgres.resume();
    assert.deepEqual(await second.has(1), [4]);
    await until("all are acknowledged", async () => (await nodes.a.backEnd.inbox("bob")).devices[""] === 4);
    assert.deepEqual(second.firsts(), [4]);
  });
});

// Any node takes any session id: clients behind a load balancer that sends each request to another node.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, it } from "node:test";
import { promisify } from "node:util";

import { TRANSPORTS, ack, connect, open, openV2, connected, upgraded } from "./support/clients.mjs";
import { addressesOf, hopsOf, nodesFor, sentOf } from "./support/hop.mjs";
import { breakablePoll, httpRequest, pollingUrl, rawSession } from "./support/raw.mjs";
import { redisFor } from "./support/redis.mjs";
import { roundRobin } from "./support/round-robin.mjs";
import { freePorts, serverFor, tlsServerFor } from "./support/server.mjs";
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

/** Clients that come back by themselves, as in real life. */
async function lastingCrowd(t, front, count = 12) {
  const sockets = await Promise.all(Array.from({ length: count }, async (_, index) => {
    const socket = open(front, { transports: Object.values(TRANSPORTS)[index % 3], reconnection: true, reconnectionDelay: 50, reconnectionDelayMax: 200, timeout: 5_000 });
    t.after(() => socket.close());
    await connected(socket);
    return socket;
  }));
  await Promise.all(sockets.filter(({ io }) => io.opts.transports.length > 1).map(upgraded));
  return sockets;
}

/** Waits until everybody has an answer from one of these nodes. */
async function allBack(sockets, homes, deadline) {
  for (const socket of sockets) {
    await until(`a client is back on ${homes}`, async () => {
      if (!socket.connected) return false;
      const node = await Promise.race([nodeOf(socket).catch(() => {}), new Promise((gone) => socket.once("disconnect", () => gone()))]);
      return homes.includes(node);
    }, deadline);
  }
}

describe("the node of a session that is not there", { concurrency: 2 }, () => {
  it("is killed: all its clients are back at once", { timeout: 120_000 }, async (t) => {
    const { nodes } = await nodesFor(t);
    const front = await roundRobin(t, Object.values(nodes));
    const sockets = await lastingCrowd(t, front);
    await nodes.n1.kill();
    front.nodes = [nodes.n2, nodes.n3];
    const since = performance.now();
    await allBack(sockets, ["n2", "n3"]);
    t.diagnostic(`all are back after ${Math.round(performance.now() - since)} ms`);
    await talk(sockets, 3);
  });

  it("is stopped: its clients are told within the limit, nobody waits behind it, and it is taken back", { timeout: 180_000 }, async (t) => {
    const { nodes } = await nodesFor(t, { config: { engine: { ping_interval: "6s", ping_timeout: "6s" } } });
    const front = await roundRobin(t, Object.values(nodes));
    const sockets = await lastingCrowd(t, front);
    const { sid } = await rawSession(nodes.n1);
    nodes.n1.signal("SIGSTOP");
    t.after(() => nodes.n1.signal("SIGCONT"));
    front.nodes = [nodes.n2, nodes.n3];
    const since = performance.now();
    const unknown = async (node) => {
      const response = await httpRequest(node, `/socket.io/?EIO=4&transport=polling&sid=${sid}`, { method: "POST", body: "2" });
      assert.deepEqual([response.status, response.text], [400, '{"code":1,"message":"Session ID unknown"}']);
      return performance.now() - since;
    };
    const [first, second] = await Promise.all([unknown(nodes.n2), unknown(nodes.n3)]);
    assert.ok(Math.max(first, second) < 15_000, `told after ${first} and ${second} ms`);
    const before = performance.now();
    await unknown(nodes.n2);
    assert.ok(performance.now() - before < 4_000, "the next one does not wait");
    assert.equal((await hopsOf(nodes.n2)).switchboard_hop_suspects, 1);
    assert.match(nodes.n2.logs, /WARN.*a node does not answer/);
    // What went to the node itself ends with the heartbeat.
    await allBack(sockets, ["n2", "n3"], 60_000);
    t.diagnostic(`told after ${Math.round(first)} ms, all are back after ${Math.round(performance.now() - since)} ms`);
    nodes.n1.signal("SIGCONT");
    front.nodes = Object.values(nodes);
    await until("it is no longer suspect", async () => (await hopsOf(nodes.n2)).switchboard_hop_suspects === 0);
    await allBack(sockets, ["n1", "n2", "n3"], 60_000);
    const again = await rawSession(nodes.n1);
    const answer = await fetch(pollingUrl(nodes.n2, again.sid), { method: "POST", body: "40" });
    assert.deepEqual([answer.status, await answer.text()], [200, "ok"]);
  });

  it("drains: its sessions are served until they are moved, and so are those that it passes on", { timeout: 120_000 }, async (t) => {
    const { nodes } = await nodesFor(t, { config: { drain: { grace: "1s", spread: "1s", timeout: "15s" } } });
    const front = await roundRobin(t, Object.values(nodes));
    const sockets = await lastingCrowd(t, front);
    const waiting = await rawSession(nodes.n2);
    const before = (await hopsOf(nodes.n2)).switchboard_hop_taken_total;
    const passed = fetch(pollingUrl(nodes.n1, waiting.sid));
    await until("the poll is under way", async () => (await hopsOf(nodes.n2)).switchboard_hop_taken_total > before);
    const failures = [];
    for (const socket of sockets) socket.on("connect_error", (error) => failures.push(error.message));
    nodes.n1.signal("SIGTERM");
    await until("it says so", async () => (await nodes.n1.get("/readyz")).status === 503);
    front.nodes = [nodes.n2, nodes.n3];
    const ended = await within(20_000, "the node ends", nodes.n1.exited);
    assert.deepEqual(ended, { code: 0, signal: null }, nodes.n1.logs);
    assert.equal((await passed).status, 200, "a poll on its way through was answered");
    assert.equal((await waiting.post("40")).status, 200, "and its session goes on");
    await allBack(sockets, ["n2", "n3"]);
    assert.deepEqual(failures, []);
    await talk(sockets, 3);
  });
});

describe("what reaches another node", { concurrency: 2 }, () => {
  it("is a session of this cluster's, or nothing", { timeout: 60_000 }, async (t) => {
    const { nodes } = await nodesFor(t, { count: 2 });
    const { sid } = await rawSession(nodes.n1);
    const stranger = await rawSession(await serverFor(t, { node_id: "n1" }));
    for (const forged of [sid.slice(0, -1), `${sid}A`, sid.replace("n1.", "n3."), `n1.${"A".repeat(32)}`, stranger.sid, `n1.${sid}`, sid.slice(3)]) {
      for (const method of ["GET", "POST"]) {
        const { status, text } = await httpRequest(nodes.n2, `/socket.io/?EIO=4&transport=polling&sid=${forged}`, { method });
        assert.deepEqual([status, text], [400, '{"code":1,"message":"Session ID unknown"}'], forged);
      }
    }
    const hops = await hopsOf(nodes.n2);
    for (const outcome of ["answered", "gone", "foreign", "broken"]) assert.equal(sentOf(hops, outcome), 0, outcome);
    // A client that claims to be a node is refused, and nothing is made of what it says.
    const claimed = await httpRequest(nodes.n1, `/socket.io/?EIO=4&transport=polling&sid=${sid}`, { headers: { "x-switchboard-hop": `1.${Date.now()}.AAAA.-.AAAA`, "x-forwarded-for": "203.0.113.7" } });
    assert.deepEqual([claimed.status, claimed.text], [400, '{"code":3,"message":"Bad request"}']);
    assert.equal((await hopsOf(nodes.n1)).switchboard_hop_forged_total, 1);
    const asked = await httpRequest(nodes.n1, "/socket.io/.hop/run", { method: "POST", body: "" });
    assert.deepEqual([asked.status, asked.text], [403, ""]);
    for (const { logs } of Object.values(nodes)) assert.ok(!logs.includes(sid.slice(3)), "no id is in the log");
  });

  it("is closed when its client leaves a poll", { timeout: 60_000 }, async (t) => {
    const { nodes } = await nodesFor(t, { count: 2 });
    const session = await rawSession(nodes.n1);
    assert.equal((await session.post("40")).status, 200);
    await session.poll();
    const taken = async () => (await hopsOf(nodes.n1)).switchboard_hop_taken_total;
    const before = await taken();
    const { breakOff } = await breakablePoll(nodes.n2, session.sid);
    await until("the poll has come to the node of its session", async () => (await taken()) > before);
    breakOff();
    await until("the session is gone", async () => (await session.post("2")).status === 400);
    assert.equal(sentOf(await hopsOf(nodes.n2), "abandoned", "poll"), 1);
  });

  it("gets its headers for the page and its cookie once", { timeout: 60_000 }, async (t) => {
    const config = { engine: { cors_origins: ["https://app.example"], cookie: "io" } };
    const { nodes } = await nodesFor(t, { count: 2, config });
    const session = await rawSession(nodes.n1);
    const headers = { origin: "https://app.example" };
    const posted = await httpRequest(nodes.n2, `/socket.io/?EIO=4&transport=polling&sid=${session.sid}`, { method: "POST", body: "40", headers });
    const here = await httpRequest(nodes.n1, `/socket.io/?EIO=4&transport=polling&sid=${session.sid}`, { headers });
    assert.equal(posted.status, 200);
    for (const name of ["access-control-allow-origin", "access-control-allow-credentials", "vary"]) assert.equal(posted.headers[name], here.headers[name], name);
    assert.equal(posted.headers["access-control-allow-origin"], "https://app.example");
    for (const name of ["set-cookie", "x-switchboard-hop"]) assert.equal(posted.headers[name], undefined, name);
  });

  it("finds nodes below another path, and clients of version 2", { timeout: 60_000 }, async (t) => {
    const { nodes } = await nodesFor(t, { config: { path: "/live/io/", engine: { legacy: "all" } } });
    const front = await roundRobin(t, Object.values(nodes));
    for (const transports of [["polling"], ["polling", "websocket"], ["websocket"]]) {
      const old = openV2(front, { transports, path: "/live/io" });
      t.after(() => old.close());
      await connected(old);
      const current = await connect(t, front, { transports, path: "/live/io" });
      for (let number = 0; number < 6; number++) {
        assert.equal(await ack(old, "events", number), number);
        assert.equal(await ack(current, "events", number), number);
      }
    }
  });

  it("goes to nodes that speak TLS, by TLS", { timeout: 60_000 }, async (t) => {
    const dir = await mkdtemp(join(tmpdir(), "switchboard-hop-"));
    t.after(() => rm(dir, { recursive: true, force: true }));
    const tls = { cert_file: join(dir, "cert"), key_file: join(dir, "key") };
    await promisify(execFile)("openssl", ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", tls.key_file, "-out", tls.cert_file, "-days", "2", "-subj", "/CN=public.example"]);
    const redis = await redisFor(t);
    const [adminPort] = await freePorts(1);
    const one = await tlsServerFor(t, { node_id: "n1", tls, redis: { url: redis.url }, admin_listen: `127.0.0.1:${adminPort}` });
    const two = await tlsServerFor(t, { node_id: "n2", tls, redis: { url: redis.url } });
    await until("both have an address", async () => {
      const listed = await addressesOf({ adminPort });
      return listed.n1 === one.url && listed.n2 === two.url;
    });
    const ca = await readFile(tls.cert_file);
    const socket = await connect(t, one, { transports: ["polling"], rejectUnauthorized: false, ca });
    const sid = socket.io.engine.id;
    const { request } = await import("node:https");
    const post = () => within(10_000, "an answer", new Promise((resolve, reject) => {
      const sent = request(`${two.url}/socket.io/?EIO=4&transport=polling&sid=${sid}`, { method: "POST", rejectUnauthorized: false, agent: false }, (response) => {
        let text = "";
        response.on("data", (chunk) => (text += chunk)).on("end", () => resolve([response.statusCode, text]));
      });
      sent.on("error", reject).end('42["events","by the other node"]');
    }));
    const answer = new Promise((resolve) => socket.once("events", resolve));
    assert.deepEqual(await post(), [200, "ok"]);
    assert.equal(await within(10_000, "the event", answer), "by the other node");
  });
});

describe("the address of a node", { concurrency: 2 }, () => {
  it("is found out, or the configured one", { timeout: 60_000 }, async (t) => {
    const config = (name) => (name === "n2" ? { edge: { advertise: "node-2.invalid:3000" } } : {});
    const { nodes } = await nodesFor(t, { config, count: 2 });
    const listed = await addressesOf(nodes.n1);
    assert.equal(listed.n1, `127.0.0.1:${nodes.n1.port}`);
    assert.equal(listed.n2, "node-2.invalid:3000");
    await until("it says that it does not reach itself", () => /WARN.*does not reach itself by edge.advertise/.test(nodes.n2.logs));
    // A node that says so cannot be reached, and that costs its clients nothing but a new session.
    const { sid } = await rawSession(nodes.n2);
    const { status } = await httpRequest(nodes.n1, `/socket.io/?EIO=4&transport=polling&sid=${sid}`);
    assert.equal(status, 400);
  });

  it("that is another node's is not believed", { timeout: 60_000 }, async (t) => {
    // A node of another cluster that has the same name.
    const other = await serverFor(t, { node_id: "n2", redis: { url: (await redisFor(t)).url } });
    const config = (name) => (name === "n2" ? { edge: { advertise: `127.0.0.1:${other.port}` } } : {});
    const { nodes } = await nodesFor(t, { config, count: 2 });
    const { sid } = await rawSession(nodes.n2);
    const { status, text } = await httpRequest(nodes.n1, `/socket.io/?EIO=4&transport=polling&sid=${sid}`);
    assert.deepEqual([status, text], [400, '{"code":1,"message":"Session ID unknown"}']);
    assert.match(nodes.n1.logs, /WARN.*what answers at this node's address is not this node/);
    assert.equal(sentOf(await hopsOf(nodes.n1), "foreign", "poll"), 1);
  });
});

const KEY = "switchboard:socket.io:{nodes}:secrets";

describe("the secret of session ids", { concurrency: 2 }, () => {
  it("is one for nodes that start at once, survives a Redis that is emptied, and is in no log", { timeout: 60_000 }, async (t) => {
    const redis = await redisFor(t);
    const { nodes } = await nodesFor(t, { redis });
    const secretOf = async () => (await redis.cli("HVALS", KEY))[0];
    const secret = await until("there is a secret", secretOf);
    assert.match(secret, /^[\w-]{43}$/);
    const taken = async (session, by) => {
      const response = await fetch(pollingUrl(by, session.sid), { method: "POST", body: "3" });
      await response.text();
      return response.status === 200;
    };
    const sessions = await Promise.all(Object.values(nodes).map(rawSession));
    for (const session of sessions) for (const node of Object.values(nodes)) assert.ok(await taken(session, node));
    await redis.cli("FLUSHALL");
    await until("it is there again", async () => (await secretOf().catch(() => undefined)) === secret);
    await until("the nodes find each other again", async () => Object.keys(await addressesOf(nodes.n1)).length === 3);
    for (const session of sessions) for (const node of Object.values(nodes)) assert.ok(await until("a node takes it", () => taken(session, node)));
    for (const { logs } of Object.values(nodes)) assert.ok(!logs.includes(secret));
  });

  it("may be configured, and is then not shared through Redis", { timeout: 60_000 }, async (t) => {
    const secrets = ["a secret of thirty-two bytes or more, for these nodes"];
    const { redis, nodes } = await nodesFor(t, { count: 2, config: { edge: { secrets } } });
    const session = await rawSession(nodes.n1);
    assert.equal((await fetch(pollingUrl(nodes.n2, session.sid), { method: "POST", body: "40" })).status, 200);
    assert.equal(await redis.cli("EXISTS", KEY), 0, "nothing is shared");
  });
});

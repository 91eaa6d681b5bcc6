// A server that is told to stop takes leave: it says so, lets nobody new in, and lets go of its
// sockets one by one, in a way that makes the clients come back to another node.

import assert from "node:assert/strict";
import { describe, it } from "node:test";

import { Inbox, TRANSPORTS, connect, connected, disconnected, heard, open, ack } from "./support/clients.mjs";
import { redisFor } from "./support/redis.mjs";
import { serverFor, startServer } from "./support/server.mjs";
import { RawSocket } from "./support/raw.mjs";
import { DEADLINE, until, within } from "./support/waiting.mjs";

async function draining(t, drain) {
  const server = await startServer({ drain });
  t.after(() => server.kill());
  return server;
}

describe("a drain", { concurrency: 2 }, () => {
  it("is announced to everybody, ends every socket at the transport, and the process with 0", async (t) => {
    const server = await draining(t, { timeout: "10s", spread: "1s" });
    const sockets = [];
    for (const transports of [...Object.values(TRANSPORTS), ...Object.values(TRANSPORTS)]) sockets.push(await connect(t, server, { transports }));
    const notices = Promise.all(sockets.map((socket) => heard(socket, "server:draining")));
    const reasons = Promise.all(sockets.map((socket) => disconnected(socket)));

    server.signal("SIGTERM");
    for (const [notice] of await notices) assert.equal(typeof notice.seconds, "number", JSON.stringify(notice));
    // After "io server disconnect" a client would stay away.
    for (const reason of await reasons) assert.match(reason, /^transport (close|error)$/);
    assert.deepEqual(await within(DEADLINE, "the process ends", server.exited), { code: 0, signal: null });
  });

  it("is announced to nobody on another node", async (t) => {
    const redis = await redisFor(t);
    const nodeOf = (drain) => serverFor(t, { redis: { url: redis.url }, drain });
    const [leaving, staying] = [await nodeOf({ timeout: "10s", spread: "100ms" }), await nodeOf({})];
    const [there, here] = [await connect(t, leaving), new Inbox(await connect(t, staying))];
    const notice = heard(there, "server:draining");
    leaving.signal("SIGTERM");
    await notice;
    // Nothing overtakes between two nodes, so a notice would be there before what comes later.
    assert.deepEqual(await within(DEADLINE, "the process ends", leaving.exited), { code: 0, signal: null });
    assert.deepEqual((await here.after(await connect(t, staying))).map(([event]) => event), []);
  });

  it("turns readiness off and new handshakes away while the others are still served", async (t) => {
    const server = await draining(t, { timeout: "20s", spread: "6s" });
    assert.equal((await server.get("/readyz")).status, 200);
    const sockets = await Promise.all(Array.from({ length: 10 }, () => connect(t, server)));
    const notice = heard(sockets[0], "server:draining");
    server.signal("SIGTERM");
    await notice;

    const readiness = await server.get("/readyz");
    assert.equal(readiness.status, 503);
    assert.ok(await readiness.json(), "the reasons are JSON");
    assert.equal((await server.get("/healthz")).status, 200, "it still serves");
    assert.equal((await server.get("/socket.io/?EIO=4&transport=polling")).status, 503);
    assert.equal(await new RawSocket(t, server).refusedWith(), 503);
    await assert.rejects(connected(open(server, { transports: ["polling"] })));

    const served = sockets.find((socket) => socket.connected);
    assert.ok(served, "ten sockets do not leave at once over six seconds");
    assert.equal((await ack(served, "whoami")).socket, served.id);
  });

  it("has a grace in which balancers notice and nobody is turned away", async (t) => {
    const server = await draining(t, { timeout: "20s", grace: "3s", spread: "100ms" });
    const early = await connect(t, server);
    let notified = false;
    early.on("server:draining", () => (notified = true));
    server.signal("SIGTERM");
    await until("the node is not ready", async () => (await server.get("/readyz")).status === 503);
    const late = await connect(t, server);
    assert.equal((await ack(late, "whoami")).socket, late.id, "a newcomer is served like everybody");
    assert.equal(notified, false, "nobody is told yet");
    assert.ok(early.connected);

    await heard(early, "server:draining");
    const refused = await server.get("/socket.io/?EIO=4&transport=polling");
    assert.equal(refused.status, 503);
    assert.equal(refused.headers.get("connection"), "close", "the proxy asks the next node");
    assert.deepEqual(await within(DEADLINE, "the process ends", server.exited), { code: 0, signal: null });
  });

  it("is spread: the sockets do not all leave in the same moment", async (t) => {
    const server = await draining(t, { timeout: "20s", spread: "2s" });
    const sockets = await Promise.all(Array.from({ length: 12 }, () => connect(t, server)));
    const times = Promise.all(sockets.map((socket) => disconnected(socket).then(() => Date.now())));
    server.signal("SIGTERM");
    const sorted = (await times).toSorted((a, b) => a - b);
    const spread = sorted.at(-1) - sorted[0];
    assert.ok(spread > 500, `they left within ${spread} ms`);
    assert.deepEqual(await within(DEADLINE, "the process ends", server.exited), { code: 0, signal: null });
  });

  it("lets a client that reconnects find another server", async (t) => {
    const [old, next] = [await draining(t, { timeout: "10s", spread: "100ms" }), await draining(t, {})];
    const socket = await connect(t, old, { reconnection: true, reconnectionDelay: 20 });
    const before = socket.id;
    // As a load balancer would: the next attempt goes to the server that is ready.
    socket.io.uri = next.url;
    old.signal("SIGTERM");
    await until("the client is back", () => socket.connected && socket.id !== before);
    assert.equal((await ack(socket, "whoami")).socket, socket.id);
  });

  it("with nobody connected ends at once", async (t) => {
    const server = await draining(t, { timeout: "30s", spread: "10s" });
    const began = Date.now();
    assert.deepEqual(await server.stop(), { code: 0, signal: null });
    assert.ok(Date.now() - began < 10_000, `it took ${Date.now() - began} ms`);
  });

  it("is cut short by a second signal", async (t) => {
    const server = await draining(t, { timeout: "60s", spread: "50s" });
    const sockets = await Promise.all(Array.from({ length: 5 }, () => connect(t, server)));
    const notice = heard(sockets[0], "server:draining");
    const reasons = Promise.all(sockets.map((socket) => disconnected(socket)));
    server.signal("SIGTERM");
    await notice;
    assert.equal(server.status, undefined, "the first signal alone does not end it");
    server.signal("SIGTERM");
    await within(DEADLINE, "the process ends", server.exited);
    for (const reason of await reasons) assert.match(reason, /^transport (close|error)$/);
  });

  it("never takes longer than its timeout, though a client does not react", async (t) => {
    const server = await draining(t, { timeout: "2s", spread: "1s" });
    const deaf = await RawSocket.connected(t, server);
    deaf.ws._socket.pause();
    const began = Date.now();
    server.signal("SIGTERM");
    assert.deepEqual(await within(DEADLINE, "the process ends", server.exited), { code: 0, signal: null });
    assert.ok(Date.now() - began < 10_000, `it took ${Date.now() - began} ms`);
  });
});

describe("SIGINT", () => {
  it("drains as SIGTERM does", async (t) => {
    const server = await draining(t, { timeout: "10s", spread: "100ms" });
    const socket = await connect(t, server);
    const [notice, reason] = [heard(socket, "server:draining"), disconnected(socket)];
    server.signal("SIGINT");
    assert.equal(typeof (await notice)[0].seconds, "number");
    assert.match(await reason, /^transport (close|error)$/);
    assert.deepEqual(await within(DEADLINE, "the process ends", server.exited), { code: 0, signal: null });
  });
});

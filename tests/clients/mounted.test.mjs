// Socket.IO inside an application of axum: the same conversations as on a port of its own, with the
// application's routes beside, its middleware around, and a drain that the application starts.

import assert from "node:assert/strict";
import { after, describe, it } from "node:test";

import { ack, clientsOf, connect, echoedWhileUpgrading, heard } from "./support/clients.mjs";
import { rawSession } from "./support/raw.mjs";
import { startExample } from "./support/server.mjs";
import { until } from "./support/waiting.mjs";

/** The example, killed after the test. */
async function exampleFor(t, env) {
  const server = await startExample("mounted", env);
  t.after(() => server.kill());
  return server;
}

const server = await startExample("mounted");
after(() => server.kill());

for (const [name, connectClient] of Object.entries(clientsOf(server))) {
  describe(`a client of a mounted server (${name})`, () => {
    it("gets text and bytes back, short and long", async (t) => {
      const socket = await connectClient(t);
      assert.deepEqual(await ack(socket, "events", { hello: "déjà vu" }), { hello: "déjà vu" });
      const text = "switchboard ".repeat(60_000);
      assert.equal(await ack(socket, "events", text), text);
    });

    it("hears of what a route of the application says", async (t) => {
      const socket = await connectClient(t);
      assert.equal(await ack(socket, "work"), true);
      const ordered = heard(socket, "ordered", ({ what }) => what === name);
      const { status } = await server.get("/orders", { method: "POST", body: name });
      assert.equal(status, 200);
      const [{ what, number }] = await ordered;
      assert.equal(what, name);
      // The handlers work with the same state as the routes.
      assert.equal(await ack(socket, "orders"), number);
    });

    it("is known by its address", async (t) => {
      assert.equal(await ack(await connectClient(t), "where"), "127.0.0.1");
    });
  });
}

describe("an application with a mounted server", () => {
  it("answers its own routes, and says whether it is ready", async () => {
    const menu = await server.get("/menu");
    assert.equal(await menu.text(), "coffee");
    assert.deepEqual([(await server.get("/healthz")).status, (await server.get("/readyz")).status], [200, 200]);
    assert.equal((await server.get("/nothing")).status, 404);
  });

  it("has its middleware around Socket.IO", async () => {
    const session = await rawSession(server);
    await session.post("40");
    assert.equal((await session.poll()).headers.get("x-kitchen"), "open");
    assert.equal((await server.get("/menu")).headers.get("x-kitchen"), "open");
  });

  it("loses nothing while a client upgrades", async (t) => {
    const socket = await connect(t, server, { transports: ["polling", "websocket"] });
    const { sent, answered } = await echoedWhileUpgrading(socket);
    assert.deepEqual(answered, sent);
  });

  it("refuses a head that a session would have to keep", async () => {
    const headers = { "x-long": "x".repeat(15_000), "x-longer": "x".repeat(2_000) };
    const refused = await server.get("/socket.io/?EIO=4&transport=polling", { headers });
    assert.equal(refused.status, 431);
    assert.equal((await refused.json()).code, 3);
  });

  it("believes a trusted proxy, and nobody else", async (t) => {
    const extraHeaders = { "X-Forwarded-For": "203.0.113.7" };
    for (const transports of [["websocket"], ["polling"]]) {
      const socket = await connect(t, server, { transports, extraHeaders });
      assert.equal(await ack(socket, "where"), "127.0.0.1");
    }
    const trusting = await exampleFor(t, { TRUSTED_PROXY: "127.0.0.1/32" });
    for (const transports of [["websocket"], ["polling"]]) {
      const socket = await connect(t, trusting, { transports, extraHeaders });
      assert.equal(await ack(socket, "where"), "203.0.113.7");
    }
  });

  it("drains: its clients are told and moved, new ones are refused, and it ends well", async (t) => {
    const leaving = await exampleFor(t);
    const sockets = await Promise.all(Object.values(clientsOf(leaving)).map((connectClient) => connectClient(t)));
    const told = sockets.map((socket) => heard(socket, "server:draining"));
    const reasons = sockets.map((socket) => new Promise((moved) => socket.once("disconnect", moved)));
    leaving.signal("SIGTERM");
    assert.deepEqual(await Promise.all(told), sockets.map(() => [{ seconds: 1 }]));
    // The last of them leaves after a second, so the port is open still.
    assert.equal((await leaving.get("/readyz")).status, 503);
    const refused = await leaving.get("/socket.io/?EIO=4&transport=polling");
    assert.equal(refused.status, 503);
    for (const reason of await Promise.all(reasons)) assert.match(reason, /^transport (close|error)$/);
    await until("it has ended", () => leaving.status);
    assert.deepEqual(leaving.status, { code: 0, signal: null }, leaving.logs);
  });
});

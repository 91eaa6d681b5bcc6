// The Admin UI of one node in development mode, spoken to as its page speaks: what it is told, what it
// can do, and that it is hidden from everybody else.

import assert from "node:assert/strict";
import { describe, it } from "node:test";

import { Page, adminUi } from "./support/admin.mjs";
import { Inbox, ack, connect, connectWith, disconnected, heard, refusal } from "./support/clients.mjs";
import { clientIdOf } from "./support/ids.mjs";
import { memoryOf, serverForThisFile } from "./support/server.mjs";
import { SECRET, token } from "./support/tokens.mjs";
import { until } from "./support/waiting.mjs";

const server = await serverForThisFile({ auth: { hs256_secret: SECRET }, node_id: "one", admin_listen: "127.0.0.1:0", users: { offline_after: "0s" }, admin_ui: adminUi() });
const address = await until("the admin port is named", () => /for administration address=(\S+)/.exec(server.logs)?.[1]);
const operator = (path, options) => fetch(`http://${address}${path}`, { signal: AbortSignal.timeout(5_000), ...options });

/** What the node counts under this name right now. */
async function counted(metric) {
  const line = (await (await operator("/metrics")).text()).split("\n").find((line) => line.startsWith(`${metric} `));
  return Number(line.split(" ").at(-1));
}

describe("the admin UI in development mode", () => {
  it("lists the sockets that there are, with rooms and user, and nothing that opens doors", async (t) => {
    const secret = await token("alice");
    const alice = await connect(t, server, { auth: { token: secret, color: "red" }, query: { token: secret, page: "7" }, extraHeaders: { cookie: `session=${secret}`, authorization: `Bearer ${secret}`, "user-agent": "test" } });
    await ack(alice, "join", "public:lobby");
    const guest = await connect(t, server);
    const page = await Page.settled(t, server);
    assert.deepEqual(page.sockets.map(({ id }) => id).sort(), [alice.id, guest.id].sort(), "and not the page itself");
    const { handshake, ...shown } = page.sockets.find(({ id }) => id === alice.id);
    assert.deepEqual({ ...shown, rooms: shown.rooms.sort() }, {
      id: alice.id, clientId: clientIdOf(alice), transport: "websocket", nsp: "/",
      data: { user: "alice" }, rooms: [alice.id, "authenticated", "public:lobby", "user:alice"].sort(),
    });
    assert.equal(handshake.query.page, "7");
    assert.equal(handshake.headers["user-agent"], "test");
    assert.ok(Math.abs(Date.now() - handshake.issued) < 10_000);
    assert.doesNotMatch(JSON.stringify(page.inbox.events), new RegExp(secret));
    assert.equal("auth" in handshake, false);
  });

  it("tells what happens to a socket, in its order", async (t) => {
    const page = await Page.settled(t, server);
    page.forget();
    const alice = await connectWith(t, server, await token("alice"));
    const { id } = alice;
    await ack(alice, "join", "public:lobby");
    await ack(alice, "events", { n: 1 }, Buffer.from("bytes"));
    await ack(alice, "leave", "public:lobby");
    await ack(alice, "auth:refresh", await token("alice"));
    alice.close();
    await page.told("room_left", (nsp, room) => room === "user:alice");
    const told = page.inbox.events.filter(([event]) => event !== "server_stats").map(([event, ...args]) => {
      if (event !== "socket_connected") return assert.ok(Math.abs(new Date(args.pop()) - Date.now()) < 10_000), [event, ...args];
      assert.deepEqual(args[0].rooms.sort(), [id, "authenticated", "user:alice"].sort());
      return [event, args[0].id];
    });
    const own = told.filter(([event, nsp, room]) => event === "room_left" && room !== "public:lobby").map(([, , room]) => room);
    assert.deepEqual(own.sort(), [id, "authenticated", "user:alice"].sort());
    assert.deepEqual(told.slice(0, -3), [
      ["room_joined", "/", id, id],
      ["room_joined", "/", "user:alice", id],
      ["room_joined", "/", "authenticated", id],
      ["socket_connected", id],
      ["event_received", "/", id, ["join", "public:lobby"]],
      ["room_joined", "/", "public:lobby", id],
      ["event_received", "/", id, ["events", { n: 1 }, Buffer.from("bytes")]],
      ["event_sent", "/", id, ["events", { n: 1 }, Buffer.from("bytes")]],
      ["event_received", "/", id, ["leave", "public:lobby"]],
      ["room_left", "/", "public:lobby", id],
      ["event_received", "/", id, ["auth:refresh", "(a token, not shown)"]],
      ["socket_disconnected", "/", id, "client namespace disconnect"],
    ]);
  });

  it("tells who gets what is published", async (t) => {
    const page = await Page.settled(t, server);
    const [alice, bob, carol] = await Promise.all(["alice", "bob", "carol"].map(async (user) => connectWith(t, server, await token(user))));
    for (const socket of [alice, bob]) await ack(socket, "join", "public:pair");
    await ack(alice, "publish", { room: "public:pair", event: "says", data: "x".repeat(10_000) });
    const [, id, args] = await page.told("event_sent", (nsp, id, [event]) => event === "says");
    assert.equal(id, bob.id);
    assert.match(args[1], /^\(\d+ bytes, not shown\)$/, "what is long is not told");
    assert.ok(carol.connected);
    assert.equal(page.inbox.of("event_sent").length, 1);
  });

  it("tells when a websocket takes over from polling", async (t) => {
    const page = await Page.settled(t, server);
    const alice = await connect(t, server, { transports: ["polling", "websocket"] });
    const [connectedSocket] = await page.told("socket_connected");
    assert.equal(connectedSocket.transport, "polling");
    assert.deepEqual(await page.told("socket_updated"), [{ id: alice.id, nsp: "/", transport: "websocket" }]);
    const late = await Page.settled(t, server);
    assert.equal(late.sockets.find(({ id }) => id === alice.id).transport, "websocket");
  });

  it("tells nothing of a socket that was refused", async (t) => {
    const page = await Page.settled(t, server);
    await refusal(t, server, { auth: { token: "not one" } });
    await connect(t, server);
    await page.told("socket_connected");
    assert.equal(page.inbox.of("socket_connected").length, 1);
    assert.equal(page.inbox.of("socket_disconnected").length, 0);
  });

  it("emits to everybody, to a room and to one socket", async (t) => {
    const page = await Page.settled(t, server);
    const sockets = [await connect(t, server), await connect(t, server), await connect(t, server)];
    const all = sockets.map((socket) => new Inbox(socket));
    const heardBy = async (...action) => {
      all.forEach((inbox) => (inbox.events.length = 0));
      assert.equal(await ack(page.socket, "emit", ...action), true);
      assert.equal(await ack(page.socket, "emit", "/", undefined, "mark"), true);
      await until("all hear the mark", () => all.every((inbox) => inbox.of("mark").length === 1));
      return all.map((inbox) => inbox.events.filter(([event]) => event !== "mark"));
    };
    const says = ["says", 1, { deep: ["x"] }, Buffer.from([1, 2])];
    assert.deepEqual(await heardBy("/", undefined, ...says), [[says], [says], [says]]);
    assert.deepEqual(await heardBy("/", "", ...says), [[says], [says], [says]]);
    assert.deepEqual(await heardBy("/", sockets[0].id, ...says), [[says], [], []]);
    assert.equal(await ack(page.socket, "join", "/", "ops:chosen", sockets[1].id), true);
    assert.deepEqual(await heardBy("/", "ops:chosen", ...says), [[], [says], []]);
    assert.deepEqual(await heardBy("/elsewhere", undefined, ...says), [[], [], []]);
  });

  it("puts sockets into rooms, takes them out, and disconnects them", async (t) => {
    const page = await Page.settled(t, server);
    const [alice, bob] = [await connect(t, server), await connectWith(t, server, await token("bob"))];
    const { id } = alice; // gone with the connection
    const roomsOf = async (socket) => (await ack(socket, "whoami")).rooms.filter((room) => room.startsWith("ops:"));

    page.emit("join", "/", "ops:one", alice.id);
    assert.deepEqual((await page.told("room_joined", (nsp, room) => room === "ops:one")).slice(0, 3), ["/", "ops:one", alice.id]);
    assert.deepEqual([await roomsOf(alice), await roomsOf(bob)], [["ops:one"], []]);

    page.emit("join", "/", "ops:two");
    await page.told("room_joined", (nsp, room, id) => room === "ops:two" && id === bob.id);
    assert.deepEqual([await roomsOf(alice), await roomsOf(bob)], [["ops:one", "ops:two"], ["ops:two"]]);

    page.emit("join", "/", "ops:three", "ops:one");
    await page.told("room_joined", (nsp, room) => room === "ops:three");
    page.emit("leave", "/", "ops:two", "user:bob");
    assert.deepEqual((await page.told("room_left")).slice(0, 3), ["/", "ops:two", bob.id]);
    assert.deepEqual([await roomsOf(alice), await roomsOf(bob)], [["ops:one", "ops:three", "ops:two"], []]);

    page.emit("leave", "/", "ops:one");
    await page.told("room_left", (nsp, room) => room === "ops:one");
    assert.equal(page.inbox.of("room_left").length, 2, "who is not in a room does not leave it");

    const gone = disconnected(alice);
    page.emit("_disconnect", "/", false, id);
    assert.equal(await gone, "io server disconnect");
    const [, , reason] = await page.told("socket_disconnected", (nsp, gone) => gone === id);
    assert.equal(reason, "server namespace disconnect");
    assert.ok(bob.connected);

    const engine = new Promise((closed) => bob.io.engine.once("close", closed));
    const all = disconnected(bob);
    page.emit("_disconnect", "/", true);
    assert.equal(await all, "io server disconnect");
    await engine;
    assert.ok(page.socket.connected);
  });

  it("refuses actions that make no sense, and those on its own namespace", async (t) => {
    const page = await Page.settled(t, server);
    for (const [code, ...action] of [
      ["bad_request", "emit"],
      ["bad_request", "emit", "/", null],
      ["bad_request", "emit", "/", {}, "hello"],
      ["bad_request", "emit", "/", null, "disconnect"],
      ["bad_request", "join", "/"],
      ["bad_request", "join", "/", ""],
      ["bad_request", "leave", 7, "room"],
      ["forbidden", "_disconnect", "/admin", true],
      ["forbidden", "emit", "/admin", null, "server_stats", {}],
      ["forbidden", "join", "/admin", "room"],
      ["unknown_event", "whoami"],
    ]) assert.equal((await ack(page.socket, ...action)).error?.code, code, JSON.stringify(action));
    assert.ok(page.socket.connected);
  });

  it("is hidden from users, from the API of operators and from the counts", async (t) => {
    const get = async (path) => (await operator(path)).json();
    const page = await Page.settled(t, server);
    const alice = await connectWith(t, server, await token("alice"));
    await page.told("socket_connected");
    page.forget();

    const names = ['switchboard_emits_total{target="all"}', "switchboard_events_sent_total"];
    const before = await Promise.all(names.map(counted));
    const news = heard(alice, "news");
    const body = JSON.stringify({ all: true, event: "news", args: [1] });
    assert.equal((await operator("/api/v1/emit", { method: "POST", headers: { "content-type": "application/json" }, body })).status, 202);
    await news;
    await page.told("event_sent", (nsp, id, [event]) => event === "news");
    assert.deepEqual(page.inbox.of("news"), [], "everybody is everybody else");

    assert.deepEqual((await get(`/api/v1/rooms/${page.socket.id}?namespace=/admin`)).sockets, []);
    assert.deepEqual((await get("/api/v1/users")).users.map(({ id }) => id), ["alice"]);
    assert.equal((await get("/api/v1/nodes")).nodes[0].sockets, 1);
    const [shown] = (await get("/api/v1/rooms/user:alice?namespace=/")).sockets;
    assert.equal(JSON.stringify(shown).includes("_admin"), false, "what is for admins is for admins");
    assert.equal(await counted("switchboard_sockets"), 1);
    assert.deepEqual(await Promise.all(names.map(counted)), before.map((count) => count + 1));
  });

  it("lets nobody wait for an admin that reads slowly, and does not grow", async (t) => {
    const page = await Page.settled(t, server);
    const crowd = await Promise.all(Array.from({ length: 5 }, () => connect(t, server)));
    const counts = crowd.map((socket) => {
      const count = { heard: 0 };
      socket.on("message", () => count.heard++);
      return count;
    });
    for (const socket of crowd) await ack(socket, "join", "public:crowd");
    page.socket.io.engine.transport.ws.pause(); // reads nothing from here on
    const [memory, missedBefore] = [await memoryOf(server), await counted("switchboard_admin_ui_missed_total")];
    const speaker = crowd[0];
    const packets = 6_000;
    for (let sent = 0; sent < packets; sent += 500) {
      for (let n = 0; n < 499; n++) speaker.emit("publish", { room: "public:crowd", data: "x".repeat(1_000) });
      await ack(speaker, "publish", { room: "public:crowd", data: "x".repeat(1_000) });
    }
    await until("everybody else hears everything", () => counts.slice(1).every(({ heard }) => heard === packets), 30_000);
    const grown = (await memoryOf(server)) - memory;
    const missed = (await counted("switchboard_admin_ui_missed_total")) - missedBefore;
    t.diagnostic(`${missed} events were not told, the server grew by ${grown.toFixed(1)} MB`);
    assert.ok(missed > packets, `${missed} missed`);
    assert.ok(grown < 24, `${grown} MB more`); // all that was missed would be 40
  });
});

// The door of the Admin UI: who may enter, and what is offered to whom.

import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { describe, it } from "node:test";

import { PASSWORD, Page, USERNAME, adminUi } from "./support/admin.mjs";
import { Inbox, ack, connect, connectWith, refusal } from "./support/clients.mjs";
import { runBinary, serverFor } from "./support/server.mjs";
import { SECRET, token } from "./support/tokens.mjs";
import { until } from "./support/waiting.mjs";

const { hashSync } = createRequire(import.meta.url)("bcryptjs");

const ACTIONS = ["EMIT", "JOIN", "LEAVE", "DISCONNECT", "MJOIN", "MLEAVE", "MDISCONNECT"];
const right = { username: USERNAME, password: PASSWORD };
const auth = { hs256_secret: SECRET };
const sentence = ({ message }) => message;

/** A server whose Admin UI has these settings, and how to be refused there. */
async function serverWith(t, options, more = {}) {
  const server = await serverFor(t, { auth, admin_ui: adminUi(options), ...more });
  return { server, refused: async (shown) => sentence(await refusal(t, server, { namespace: "/admin", auth: shown })) };
}

describe("the door of the admin UI", () => {
  it("is not there unless it is enabled", async (t) => {
    const server = await serverFor(t, { auth, admin_ui: { username: USERNAME, password: PASSWORD } });
    assert.equal(sentence(await refusal(t, server, { namespace: "/admin", auth: right })), "Invalid namespace");
  });

  it("is not opened by a server without a password", async () => {
    for (const [admin_ui, said] of [
      [{ enabled: true }, /admin_ui\.enabled: is true, so admin_ui\.username and admin_ui\.password must be set/],
      [adminUi({ password: "" }), /admin_ui\.enabled: is true/],
      [adminUi({ password: "$2b$10$cut" }), /admin_ui\.password: looks like a bcrypt hash but is none/],
      [adminUi({ namespace: "/" }), /admin_ui\.namespace: must be one of its own/],
    ]) {
      const { code, stderr } = await runBinary(["serve"], { config: { admin_listen: "", admin_ui } });
      assert.equal(code, 2, stderr);
      assert.match(stderr, said);
      assert.doesNotMatch(stderr, /\$2b\$10\$cut/, "a password is never printed");
    }
  });

  for (const [how, password] of Object.entries({
    "written in plain": PASSWORD,
    "as a hash $2a$": hashSync(PASSWORD, 4),
    "as a hash $2b$": hashSync(PASSWORD, 4).replace("$2a$", "$2b$"),
    "as a hash $2y$": hashSync(PASSWORD, 4).replace("$2a$", "$2y$"),
  })) {
    it(`opens for the password ${how}, and for nothing else`, async (t) => {
      const { server, refused } = await serverWith(t, { password });
      await Page.open(t, server);
      for (const wrong of [
        {},
        { ...right, password: `${PASSWORD} ` },
        { ...right, username: "Ops" },
        { ...right, password: password === PASSWORD ? "" : password },
        { username: { $ne: "" }, password: { $ne: "" } },
        { sessionId: "made up" },
      ]) assert.equal(await refused(wrong), "invalid credentials", JSON.stringify(wrong));
    });
  }

  it("does not open for the token of a user, and a user's door does not open for its password", async (t) => {
    const { server, refused } = await serverWith(t, {}, { auth: { ...auth, mode: "required" } });
    assert.equal(await refused({ token: await token("alice") }), "invalid credentials");
    assert.match(sentence(await refusal(t, server, { auth: right })), /^unauthorized: /);
    await Page.open(t, server); // and needs no token
  });

  it("opens for the session that the password gave, as long as it lasts", async (t) => {
    const { server, refused } = await serverWith(t, { session_ttl: "3s" });
    const first = await Page.open(t, server);
    const [sessionId] = await first.told("session");
    const second = await Page.open(t, server, { auth: { sessionId } });
    await second.told("config");
    assert.deepEqual(second.inbox.of("session"), [], "a session is not prolonged by itself");
    const tried = () => refused({ sessionId }).catch((letIn) => letIn.message);
    await until("the session ends", async () => (await tried()) === "invalid credentials", 8_000);
    assert.ok(first.socket.connected, "who is in stays in");
  });

  it("opens under another name if it is told to", async (t) => {
    const { server, refused } = await serverWith(t, { namespace: "/ops/ui", server_id: "the first" });
    assert.equal(await refused(right), "Invalid namespace");
    const page = await Page.open(t, server, { namespace: "/ops/ui" });
    await page.told("server_stats", ({ serverId }) => serverId === "the first");
  });

  it("is shut for a while to who guesses, and stays open to sessions", async (t) => {
    const { server, refused } = await serverWith(t, {});
    const [sessionId] = await (await Page.open(t, server)).told("session");
    for (let attempt = 1; attempt <= 10; attempt++) assert.equal(await refused({ ...right, password: `guess ${attempt}` }), "invalid credentials");
    assert.equal(await refused({ ...right, password: "guess 11" }), "too many attempts, wait a minute");
    assert.equal(await refused(right), "too many attempts, wait a minute");
    await Page.open(t, server, { auth: { sessionId } });
    assert.doesNotMatch(server.logs, new RegExp(`guess|${PASSWORD}|${sessionId}`), "what was shown is not logged");
  });

  it("holds up nobody while many passwords are judged", async (t) => {
    // Each takes a good while: a thread that serves would stand still.
    const { server, refused } = await serverWith(t, { password: hashSync(PASSWORD, 12) });
    const alice = await connect(t, server);
    let judged = 0;
    const guesses = Array.from({ length: 8 }, () => refused({ ...right, password: "guess" }).then((said) => (judged++, said)));
    let round = 0;
    while (judged === 0) {
      await ack(alice, "whoami");
      round++;
    }
    assert.ok(round > 3, `${round} answers while the first password was judged`);
    assert.deepEqual([...new Set(await Promise.all(guesses))], ["invalid credentials"]);
  });
});

describe("what the admin UI may offer", () => {
  for (const [options, features] of [
    [{ mode: "development" }, [...ACTIONS, "AGGREGATED_EVENTS", "ALL_EVENTS"]],
    [{ mode: "development", read_only: true }, ["AGGREGATED_EVENTS", "ALL_EVENTS"]],
    [{ mode: "production" }, [...ACTIONS, "AGGREGATED_EVENTS"]],
    [{ mode: "production", read_only: true }, ["AGGREGATED_EVENTS"]],
  ]) {
    it(JSON.stringify(options), async (t) => {
      const { server } = await serverWith(t, options);
      const page = await Page.open(t, server);
      assert.deepEqual(await page.features(), features);
    });
  }

  it("in production mode: the numbers, and not one word on a socket", async (t) => {
    const { server } = await serverWith(t, { mode: "production" });
    const page = await Page.open(t, server);
    const alice = await connectWith(t, server, await token("alice"));
    await ack(alice, "join", "public:lobby");
    await ack(alice, "events", "hello");
    alice.close();
    const [{ aggregatedEvents, ...stats }] = await page.told("server_stats", ({ aggregatedEvents }) => aggregatedEvents.some(({ type }) => type === "rawDisconnection"));
    assert.equal(stats.pid, server.process.pid);
    assert.deepEqual(stats.namespaces, [{ name: "/", socketsCount: 0 }]);
    assert.deepEqual([stats.clientsCount, stats.pollingClientsCount], [1, 0], "the page itself");
    assert.ok(aggregatedEvents.every(({ timestamp, count }) => timestamp % 1_000 === 0 && count > 0));
    assert.deepEqual([...new Set(page.inbox.events.map(([event]) => event))].sort(), ["config", "server_stats", "session"]);
  });

  it("what only may be looked at cannot be touched", async (t) => {
    const { server } = await serverWith(t, { read_only: true });
    const page = await Page.settled(t, server);
    const alice = new Inbox(await connect(t, server));
    const [socket] = await page.told("socket_connected");
    for (const action of [["emit", "/", null, "hello"], ["join", "/", "room"], ["leave", "/", "room"], ["_disconnect", "/", true]]) {
      const answer = await ack(page.socket, ...action);
      assert.equal(answer.error.code, "unknown_event", action[0]);
    }
    const everybody = await Page.settled(t, server);
    assert.deepEqual(everybody.sockets.map(({ id, rooms }) => [id, rooms]), [[socket.id, [socket.id]]]);
    assert.deepEqual(alice.events, []);
  });
});

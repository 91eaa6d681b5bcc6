// Rooms and words that are the server's own: a client can't leave them, speak in them or put words into
// the server's mouth, and a token names them only where the operator has said that it may.

import assert from "node:assert/strict";
import { describe, it } from "node:test";

import { Inbox, ack, connect, connectWith, refusal } from "./support/clients.mjs";
import { serverForThisFile } from "./support/server.mjs";
import { SECRET, token } from "./support/tokens.mjs";

const auth = { hs256_secret: SECRET };
const server = await serverForThisFile({ auth });
const trusting = await serverForThisFile({ auth: { ...auth, reserved_rooms: true } });
const unlimited = await serverForThisFile({ auth, limits: { max_rooms_per_socket: 0, max_event_name: 0, events_per_second: 0, max_connections: 0, connections_per_second: 0, connections_per_address: 0 }, users: { max_sockets: 0 } });

const ANOTHER = "WE593V5owfuuoPohQduk"; // well formed, and nobody's

describe("one's own rooms", () => {
  it("cannot be left, and that is said", async (t) => {
    const alice = await connectWith(t, server, await token("alice"));
    for (const room of [alice.id, "user:alice", "authenticated"]) {
      assert.equal((await ack(alice, "leave", room)).error?.code, "forbidden", room);
    }
    const { rooms } = await ack(alice, "whoami");
    assert.deepEqual(rooms.sort(), [alice.id, "authenticated", "user:alice"].sort());
  });

  it("a name that no room may have is no room to leave", async (t) => {
    const guest = await connect(t, server);
    assert.equal((await ack(guest, "leave", "")).error?.code, "bad_request");
    assert.equal((await ack(guest, "leave", "x".repeat(256))).error?.code, "too_large");
    assert.deepEqual(await ack(guest, "leave", "public:never-joined"), { ok: true, room: "public:never-joined" });
  });
});

describe("what only the server says", () => {
  for (const event of ["auth:expiring", "server:draining", "events"]) {
    it(`is not published by a client: ${event}`, async (t) => {
      const [liar, member] = [await connect(t, server), await connect(t, server)];
      for (const socket of [liar, member]) await ack(socket, "join", "public:lobby");
      const inbox = new Inbox(member);
      assert.equal((await ack(liar, "publish", { room: "public:lobby", event, data: { seconds: 1 } })).error?.code, "forbidden");
      assert.deepEqual(await ack(liar, "publish", { room: "public:lobby", data: "true" }), { ok: true });
      assert.deepEqual((await inbox.after(liar)).map(([name]) => name), ["message"]);
    });
  }
});

describe("the rooms of a token", () => {
  const wrong = {
    "another user's": [["user:bob"], "forbidden"],
    "one's own user's": [["user:alice"], "forbidden"],
    "that of all who are authenticated": [["authenticated"], "forbidden"],
    "a socket's": [[ANOTHER], "forbidden"],
    "one that Node.js knows by a number": [["\u0000101"], "forbidden"],
    "one with a name of 3,000 bytes": [["x".repeat(3_000)], "too_large"],
    "more than a socket may be in": [Array.from({ length: 129 }, (_, number) => `room ${number}`), "forbidden"],
  };
  for (const [name, [rooms, code]] of Object.entries(wrong)) {
    it(`refuse it if there is ${name} among them, and say why`, async (t) => {
      const error = await refusal(t, server, { auth: { token: await token("alice", { rooms }) } });
      assert.equal(error.data?.code, code, error.message);
      assert.match(error.data.message, /^the token/);
      assert.equal(error.data.retry, false);
    });
  }

  it("are joined if they are anything else, as many as may be", async (t) => {
    const rooms = Array.from({ length: 128 }, (_, number) => `room ${number}`);
    const alice = await connectWith(t, server, await token("alice", { rooms }));
    assert.equal((await ack(alice, "whoami")).rooms.length, 131);
    assert.equal((await ack(alice, "join", "public:one-more")).error?.code, "forbidden");
  });

  it("may be the server's where auth.reserved_rooms says so, and even then nobody speaks there", async (t) => {
    const deputy = await connectWith(t, trusting, await token("deputy", { rooms: ["user:bob", "public:lobby"] }));
    const bob = new Inbox(await connectWith(t, trusting, await token("bob")));
    assert.ok((await ack(deputy, "whoami")).rooms.includes("user:bob"));
    assert.equal((await ack(deputy, "publish", { room: "user:bob", data: 1 })).error?.code, "forbidden");
    assert.equal((await ack(deputy, "leave", "user:bob")).error?.code, "forbidden");
    assert.deepEqual(await bob.after(deputy), []);
  });
});

describe("a limit of 0", () => {
  it("is none, whichever limit it is", async (t) => {
    const rooms = Array.from({ length: 200 }, (_, number) => `room ${number}`);
    const alice = await connectWith(t, unlimited, await token("alice", { rooms }));
    for (let number = 0; number < 200; number++) assert.equal((await ack(alice, "join", `public:${number}`)).ok, true);
    assert.equal((await ack(alice, "whoami")).rooms.length, 403);
    assert.equal((await ack(alice, "x".repeat(10_000))).error.code, "unknown_event", "its name is not too long");
    const tabs = await Promise.all(Array.from({ length: 20 }, () => connect(t, unlimited, { auth: alice.auth })));
    assert.ok(tabs.every((tab) => tab.connected));
    const answers = await Promise.all(Array.from({ length: 2_000 }, () => ack(alice, "events", 1)));
    assert.ok(answers.every((answer) => answer === 1));
  });
});

describe("an authorization that is not for us", () => {
  for (const authorization of ["Basic YWRtaW46c2VjcmV0", "Negotiate", "Digest username=proxy"]) {
    it(`does not keep a guest out: ${authorization}`, async (t) => {
      const guest = await connect(t, server, { extraHeaders: { authorization }, transports: ["polling"] });
      assert.equal((await ack(guest, "whoami")).user, null);
      const alice = await connect(t, server, { extraHeaders: { authorization }, auth: { token: await token("alice") } });
      assert.equal((await ack(alice, "whoami")).user, "alice");
    });
  }

  for (const authorization of ["Bearer not-a-token", "bearer", "a.forged.token"]) {
    it(`a token that is not valid still does: ${authorization}`, async (t) => {
      assert.equal((await refusal(t, server, { extraHeaders: { authorization } })).data?.code, "unauthorized");
    });
  }
});

// The events that the binary understands by itself: each row of the contract's table, and each refusal.

import assert from "node:assert/strict";
import { describe, it } from "node:test";

import { Inbox, ack, connect, connectV2, connectWith, heard } from "./support/clients.mjs";
import { serverForThisFile } from "./support/server.mjs";
import { SECRET, token } from "./support/tokens.mjs";

const server = await serverForThisFile({
  node_id: "gateway-test",
  auth: { hs256_secret: SECRET },
  rooms: { may_join: ["public:*", "news"] },
});

const alice = async (t) => connectWith(t, server, await token("alice"));
const bob = async (t) => connectWith(t, server, await token("bob"));
const guest = (t) => connect(t, server);

/** The code of the error with which `event` is refused, after a look at the rest of the error. */
async function refused(socket, event, ...args) {
  const answer = await ack(socket, event, ...args);
  assert.ok(answer?.error, `${event} is refused, but the answer is ${JSON.stringify(answer)}`);
  const { code, message, retry, ...rest } = answer.error;
  assert.match(message, /\S/, "a sentence for people");
  assert.equal(retry, false);
  assert.deepEqual(rest, {});
  return code;
}

/** A room of the test alone, with these sockets in it. */
async function room(...members) {
  const name = `public:${crypto.randomUUID()}`;
  for (const socket of members) assert.deepEqual(await ack(socket, "join", name), { ok: true, room: name });
  return name;
}

describe("whoami", () => {
  it("tells a user who it is, where it is and in which rooms", async (t) => {
    const socket = await alice(t);
    const { rooms, ...me } = await ack(socket, "whoami");
    assert.deepEqual(me, { user: "alice", socket: socket.id, node: "gateway-test", namespace: "/" });
    assert.deepEqual(rooms.toSorted(), [socket.id, "authenticated", "user:alice"].toSorted());
  });

  it("tells a guest that it is nobody, in the room of its own id only", async (t) => {
    const socket = await guest(t);
    const me = await ack(socket, "whoami");
    assert.equal(me.user, null);
    assert.deepEqual(me.rooms, [socket.id]);
  });
});

describe("events", () => {
  it("come back to the sender with all their arguments", async (t) => {
    const socket = await guest(t);
    const echo = heard(socket, "events");
    assert.deepEqual(await ack(socket, "events", { hello: 1 }, "two", [3]), { hello: 1 });
    assert.deepEqual(await echo, [{ hello: 1 }, "two", [3]]);
  });
});

describe("join and leave", () => {
  it("let a socket hear a room, and then no more", async (t) => {
    const [listener, speaker] = [await bob(t), await alice(t)];
    const lobby = await room(listener, speaker);
    const inbox = new Inbox(listener);
    await ack(speaker, "publish", { room: lobby, data: 1 });
    assert.equal((await inbox.after(speaker)).length, 1);

    assert.deepEqual(await ack(listener, "leave", lobby), { ok: true, room: lobby });
    assert.ok(!(await ack(listener, "whoami")).rooms.includes(lobby));
    await ack(speaker, "publish", { room: lobby, data: 2 });
    assert.equal((await inbox.after(speaker)).length, 1, "nothing new after leaving");
  });

  it("allow what a pattern allows, literal or prefix, and refuse the rest as forbidden", async (t) => {
    const socket = await alice(t);
    assert.deepEqual(await ack(socket, "join", "news"), { ok: true, room: "news" });
    assert.deepEqual(await ack(socket, "join", "public:"), { ok: true, room: "public:" });
    for (const name of ["secret", "newsroom", "publi", "Public:lobby", "public"]) {
      assert.equal(await refused(socket, "join", name), "forbidden", name);
    }
    assert.ok(!(await ack(socket, "whoami")).rooms.includes("secret"));
  });

  it("never open a room that the server keeps for itself", async (t) => {
    const [socket, other] = [await alice(t), await bob(t)];
    for (const name of ["user:bob", "authenticated", other.id]) {
      assert.equal(await refused(socket, "join", name), "forbidden", name);
    }
    const inbox = new Inbox(socket);
    other.emit("events", "for bob's tabs");
    assert.deepEqual(await inbox.after(other), []);
  });

  it("refuse to take a socket out of the rooms that the server put it in", async (t) => {
    const [tab, otherTab] = [await alice(t), await alice(t)];
    for (const name of ["user:alice", "authenticated", tab.id]) await ack(tab, "leave", name);
    const { rooms } = await ack(tab, "whoami");
    assert.deepEqual(rooms.toSorted(), [tab.id, "authenticated", "user:alice"].toSorted());
    const propagated = heard(tab, "events");
    otherTab.emit("events", "still here?");
    assert.deepEqual(await propagated, ["still here?"]);
  });

  it("may be repeated without harm", async (t) => {
    const [listener, speaker] = [await bob(t), await alice(t)];
    const lobby = await room(listener, listener, speaker);
    const inbox = new Inbox(listener);
    await ack(speaker, "publish", { room: lobby, data: "once" });
    assert.equal((await inbox.after(speaker)).length, 1);
    for (let i = 0; i < 2; i++) assert.deepEqual(await ack(listener, "leave", lobby), { ok: true, room: lobby });
  });
});

describe("publish", () => {
  it("reaches the other members and nobody else", async (t) => {
    const [speaker, member, stranger] = [await alice(t), await bob(t), await guest(t)];
    const lobby = await room(speaker, member);
    const inboxes = [speaker, member, stranger].map((socket) => new Inbox(socket));
    assert.deepEqual(await ack(speaker, "publish", { room: lobby, event: "chat", data: { text: "hi" } }), { ok: true });
    const [own, members, strangers] = await Promise.all(inboxes.map((inbox) => inbox.after(speaker)));
    assert.deepEqual(members, [["chat", { room: lobby, from: "alice", data: { text: "hi" } }]]);
    assert.deepEqual(own, []);
    assert.deepEqual(strangers, []);
  });

  it("is called message when it has no name", async (t) => {
    const [speaker, member] = [await alice(t), await bob(t)];
    const lobby = await room(speaker, member);
    const message = heard(member, "message");
    await ack(speaker, "publish", { room: lobby, data: [1, 2] });
    assert.deepEqual(await message, [{ room: lobby, from: "alice", data: [1, 2] }]);
  });

  it("comes from null when a guest speaks, whatever the guest claims", async (t) => {
    const [speaker, member] = [await guest(t), await alice(t)];
    const lobby = await room(speaker, member);
    const message = heard(member, "message");
    await ack(speaker, "publish", { room: lobby, from: "bob", data: "I am bob" });
    assert.deepEqual(await message, [{ room: lobby, from: null, data: "I am bob" }]);
  });

  it("carries bytes", async (t) => {
    const [speaker, member] = [await alice(t), await bob(t)];
    const lobby = await room(speaker, member);
    const message = heard(member, "message");
    await ack(speaker, "publish", { room: lobby, data: { file: Buffer.from([1, 2, 255]) } });
    assert.deepEqual((await message)[0].data.file, Buffer.from([1, 2, 255]));
  });

  it("reaches a 2.x client too", async (t) => {
    const [speaker, member] = [await alice(t), await connectV2(t, server)];
    const lobby = await room(speaker, member);
    const message = heard(member, "message");
    await ack(speaker, "publish", { room: lobby, data: "hello, 2018" });
    assert.deepEqual(await message, [{ room: lobby, from: "alice", data: "hello, 2018" }]);
  });

  it("is forbidden into the rooms that the server keeps for itself, though one is in them", async (t) => {
    const alice = await connectWith(t, server, await token("alice"));
    const bob = new Inbox(await connectWith(t, server, await token("bob")));
    for (const room of ["authenticated", "user:alice", alice.id]) {
      assert.equal((await ack(alice, "publish", { room, data: "to all of you" })).error?.code, "forbidden", room);
    }
    assert.deepEqual(await bob.after(alice), []);
  });

  it("is forbidden to who is not a member", async (t) => {
    const [stranger, member] = [await alice(t), await bob(t)];
    const lobby = await room(member);
    const inbox = new Inbox(member);
    assert.equal(await refused(stranger, "publish", { room: lobby, data: "let me in" }), "forbidden");
    assert.equal(await refused(stranger, "publish", { room: "user:bob", data: "psst" }), "forbidden");
    assert.equal(await refused(stranger, "publish", { room: member.id, data: "psst" }), "forbidden");
    assert.deepEqual(await inbox.after(stranger), []);
  });

  for (const event of ["connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener"]) {
    it(`refuses the name ${event}, which would break the receiving client`, async (t) => {
      const [speaker, member] = [await alice(t), await bob(t)];
      const lobby = await room(speaker, member);
      const inbox = new Inbox(member);
      assert.equal(await refused(speaker, "publish", { room: lobby, event, data: 1 }), "bad_request");
      assert.deepEqual(await inbox.after(speaker), []);
      assert.ok(member.connected);
    });
  }
});

describe("what the gateway does not understand", () => {
  it("is an unknown event", async (t) => {
    const socket = await guest(t);
    assert.equal(await refused(socket, "no-such-event", 1), "unknown_event");
    assert.equal(await refused(socket, "Events"), "unknown_event");
    assert.equal(await refused(socket, ""), "unknown_event");
  });

  it("does no harm when nobody asks for an ack", async (t) => {
    const socket = await guest(t);
    socket.emit("no-such-event", { some: "thing" });
    socket.emit("join", { not: "a room" });
    assert.equal(await ack(socket, "events", "still here"), "still here");
  });

  const wrong = {
    "join without a room": ["join"],
    "join with a number": ["join", 7],
    "join with an object": ["join", { room: "public:lobby" }],
    "join with null": ["join", null],
    "join with bytes": ["join", Buffer.from("public:lobby")],
    "leave without a room": ["leave"],
    "leave with a list": ["leave", ["public:lobby"]],
    "publish without anything": ["publish"],
    "publish with a string": ["publish", "public:lobby"],
    "publish without a room": ["publish", { data: 1 }],
    "publish with a room that is no string": ["publish", { room: 5, data: 1 }],
    "publish with an event that is no string": ["publish", { room: "public:lobby", event: 5, data: 1 }],
  };
  for (const [name, args] of Object.entries(wrong)) {
    it(`is a bad request: ${name}`, async (t) => {
      assert.equal(await refused(await guest(t), ...args), "bad_request");
    });
  }
});

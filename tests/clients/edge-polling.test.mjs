// A session of single requests ends when they stop coming, or when one of them is broken off. Seen
// from outside by what becomes free: the only place of a user, or the only place of the server.

import assert from "node:assert/strict";
import { describe, it } from "node:test";

import { Inbox, ack, connect, connectV2, connectWith, disconnected, heard, openV2, connected, refusal, upgraded } from "./support/clients.mjs";
import { breakablePoll, httpRequest, pollingUrl, rawSession } from "./support/raw.mjs";
import { serverFor, serverForThisFile } from "./support/server.mjs";
import { SECRET, token } from "./support/tokens.mjs";
import { until } from "./support/waiting.mjs";

const auth = { hs256_secret: SECRET };
const alice = await token("alice");
// With the default heartbeat nobody is taken for dead before 45 s: what happens earlier has another cause.
const patient = await serverForThisFile({ auth, users: { max_sockets: 1 } });

const isGone = async (server, sid) => (await fetch(pollingUrl(server, sid), { method: "POST", body: "3" })).status === 400;

/** A polling session of alice, who may have one socket, up to date: the next poll waits. */
async function aliceByHand(server) {
  const session = await rawSession(server);
  assert.equal((await session.post(`40${JSON.stringify({ token: alice })}`)).status, 200);
  assert.match(await (await session.poll()).text(), /^40\{"sid"/);
  return session;
}

async function placeIsTaken(t, server) {
  assert.equal((await refusal(t, server, { auth: { token: alice } })).data.code, "too_many_sockets");
}

/** Connects alice as soon as her other socket is gone. */
function placeBecomesFree(t, server, deadline) {
  return until("alice is let in", async () => {
    try {
      return await connectWith(t, server, alice);
    } catch (error) {
      if (error.data?.code !== "too_many_sockets") throw error;
    }
  }, deadline);
}

/** For tests that share alice: whoever has her place gives it back. */
async function leave(t, socket) {
  socket.close();
  (await placeBecomesFree(t, patient)).close();
}

describe("a poll that the client breaks off", () => {
  it("ends the session at once, and its socket is gone", async (t) => {
    const session = await aliceByHand(patient);
    const poll = await breakablePoll(patient, session.sid);
    await placeIsTaken(t, patient);
    poll.breakOff();
    await leave(t, await placeBecomesFree(t, patient));
    assert.ok(await isGone(patient, session.sid));
  });

  it("by an AbortController ends it as well", async (t) => {
    const session = await aliceByHand(patient);
    const controller = new AbortController();
    const polled = fetch(pollingUrl(patient, session.sid), { signal: controller.signal }).catch((error) => error.name);
    await placeIsTaken(t, patient); // many requests later the poll has arrived
    controller.abort();
    assert.equal(await polled, "AbortError");
    await leave(t, await placeBecomesFree(t, patient));
    assert.ok(await isGone(patient, session.sid));
  });

  it("ends nobody else's session", async (t) => {
    const [session, neighbour, member] = [await aliceByHand(patient), await connect(t, patient, { transports: ["polling"] }), await connect(t, patient)];
    const poll = await breakablePoll(patient, session.sid);
    await placeIsTaken(t, patient); // many requests later the poll has arrived
    poll.breakOff();
    const successor = await placeBecomesFree(t, patient);
    for (const socket of [neighbour, member, successor]) assert.equal((await ack(socket, "whoami")).socket, socket.id);
    await leave(t, successor);
  });

  it("before anybody has joined frees the server's place", async (t) => {
    const server = await serverFor(t, { limits: { max_connections: 1 } });
    const session = await rawSession(server);
    const poll = await breakablePoll(server, session.sid);
    assert.equal((await fetch(pollingUrl(server))).status, 503);
    poll.breakOff();
    await until("there is room again", async () => (await fetch(pollingUrl(server))).status === 200);
  });
});

describe("a polling client that vanishes", () => {
  // Far below the default heartbeat: the deadline of 10 s is only met by a sweep after 1 s or so.
  const quick = { ping_interval: "500ms", ping_timeout: "500ms" };
  const DEADLINE = 10_000;

  it("is swept when the heartbeat is over, and its socket is gone", async (t) => {
    const server = await serverFor(t, { auth, users: { max_sockets: 1 }, engine: quick });
    const session = await aliceByHand(server);
    await placeIsTaken(t, server);
    await placeBecomesFree(t, server, DEADLINE);
    assert.ok(await isGone(server, session.sid));
  });

  const moments = {
    "after its handshake": async () => {},
    "after it has joined": (session) => session.post("40"),
    "after it has polled": async (session) => {
      await session.post("40");
      await session.poll();
    },
    "without answering the ping": async (session) => {
      await session.post("40");
      while ((await (await session.poll()).text()) !== "2");
    },
  };
  for (const [moment, act] of Object.entries(moments)) {
    it(`${moment} does not keep its place`, async (t) => {
      const server = await serverFor(t, { engine: quick, limits: { max_connections: 1 } });
      await act(await rawSession(server));
      await until("there is room again", async () => (await fetch(pollingUrl(server))).status === 200, DEADLINE);
    });
  }

  it("does not drag those along who still poll", async (t) => {
    const server = await serverFor(t, { auth, users: { max_sockets: 1 }, engine: quick });
    const staying = await Promise.all(Array.from({ length: 10 }, () => connect(t, server, { transports: ["polling"] })));
    const reasons = [];
    for (const socket of staying) socket.on("disconnect", (reason) => reasons.push(reason));
    await aliceByHand(server);
    await placeBecomesFree(t, server, DEADLINE);
    // Two more beats: what the sweep would have done to them, it has done by now.
    for (let beat = 0; beat < 2; beat++) await new Promise((beaten) => staying[0].io.once("ping", beaten));
    assert.deepEqual(reasons, []);
    for (const socket of staying) assert.equal((await ack(socket, "whoami")).socket, socket.id);
  });
});

describe("two polls at once", () => {
  it("end the session, and its socket is gone", async (t) => {
    const session = await aliceByHand(patient);
    const statuses = (await Promise.all([session.poll(), session.poll()])).map(({ status }) => status);
    assert.ok(statuses.includes(400), `${statuses}`);
    await leave(t, await placeBecomesFree(t, patient));
    assert.ok(await isGone(patient, session.sid));
  });
});

describe("polling by Engine.IO 3", () => {
  const HANDSHAKE = "/socket.io/?EIO=3&transport=polling";

  it("is refused by default, as a version that is not spoken", async (t) => {
    const { status, text } = await httpRequest(patient, HANDSHAKE);
    assert.equal(status, 400);
    assert.deepEqual(JSON.parse(text), { code: 5, message: "Unsupported protocol version" });
    const socket = openV2(patient, { transports: ["polling"] });
    t.after(() => socket.close());
    await assert.rejects(connected(socket));
  });

  for (const [name, transports] of Object.entries({ "polling only": ["polling"], "polling, then upgraded": ["polling", "websocket"] })) {
    describe(`with legacy_polling works (2.x, ${name})`, async () => {
      const legacy = await serverForThisFile({ auth, engine: { legacy_polling: true } });
      const client = async (t, options) => {
        const socket = await connectV2(t, legacy, { transports, ...options });
        return transports.length > 1 ? upgraded(socket) : socket;
      };

      it("for text and acks", async (t) => {
        const socket = await client(t);
        const args = ["déjà vu · 漢字 · 👋", { deep: [1, null] }, 7.5];
        const echo = heard(socket, "events");
        assert.equal(await ack(socket, "events", ...args), args[0]);
        assert.deepEqual(await echo, args);
      });

      it("for bytes in both directions, alone, empty and among text", async (t) => {
        const socket = await client(t);
        for (const bytes of [Buffer.from([0, 1, 2, 0x1e, 0xff]), Buffer.alloc(0), Buffer.alloc(70_000, "switchboard")]) {
          const echo = heard(socket, "events");
          socket.emit("events", "before", bytes, { deep: [bytes] }, "after");
          const [before, alone, { deep }, after] = await echo;
          assert.deepEqual([before, after], ["before", "after"]);
          assert.deepEqual(Buffer.from(alone), bytes);
          assert.deepEqual(Buffer.from(deep[0]), bytes);
          assert.deepEqual(Buffer.from(await ack(socket, "events", bytes)), bytes);
        }
      });

      it("for bytes from somebody else in a room, in order", async (t) => {
        const [socket, publisher] = [await client(t), await connect(t, legacy)];
        const room = `public:${name}`;
        const got = [];
        socket.on("message", ({ data }) => got.push(Buffer.from(data).readUInt8()));
        for (const member of [socket, publisher]) assert.deepEqual(await ack(member, "join", room), { ok: true, room });
        for (let number = 0; number < 100; number++) publisher.emit("publish", { room, data: Buffer.from([number]) });
        await until("all have come", () => got.length >= 100);
        assert.deepEqual(got, Array.from({ length: 100 }, (_, number) => number));
      });

      it("for a token, and for its refusal", async (t) => {
        assert.equal((await ack(await client(t, { query: { token: alice } }), "whoami")).user, "alice");
        const socket = openV2(legacy, { transports, query: { token: "garbage" } });
        t.after(() => socket.close());
        await assert.rejects(connected(socket), /unauthorized/);
      });

      it("beside clients of today", async (t) => {
        const socket = await connect(t, legacy, { transports });
        const inbox = new Inbox(socket);
        await ack(socket, "events", "hello");
        assert.deepEqual(await inbox.after(socket), [["events", "hello"]]);
      });
    });
  }
});

describe("a session that a client leaves", () => {
  it("by closing frees the place, whatever the transport", async (t) => {
    for (const transports of [["polling"], ["websocket"], ["polling", "websocket"]]) {
      const socket = await connectWith(t, patient, alice, { transports });
      const gone = disconnected(socket);
      socket.close();
      assert.equal(await gone, "io client disconnect");
      await leave(t, await placeBecomesFree(t, patient));
    }
  });
});

// A user is all of its sockets: replies reach every tab, and the count of tabs is exact whatever the
// way in which one leaves. With `users.max_sockets` the count can be seen from outside.

import assert from "node:assert/strict";
import { describe, it } from "node:test";

import { Inbox, TRANSPORTS, ack, connect, connectWith, connected, disconnected, heard, open, refusal, upgraded } from "./support/clients.mjs";
import { RawSocket } from "./support/raw.mjs";
import { serverFor, serverForThisFile } from "./support/server.mjs";
import { SECRET, token } from "./support/tokens.mjs";
import { until } from "./support/waiting.mjs";

const auth = { hs256_secret: SECRET };
const server = await serverForThisFile({ auth });

const tokens = { alice: await token("alice"), bob: await token("bob") };
const tabOf = (t, user, target = server, options) => connectWith(t, target, tokens[user], options);

describe("what a user's tab sends to events", () => {
  it("reaches its other tabs exactly once, and the tab itself exactly once", async (t) => {
    const tabs = [await tabOf(t, "alice"), await tabOf(t, "alice"), await tabOf(t, "alice")];
    const inboxes = tabs.map((tab) => new Inbox(tab));
    await ack(tabs[0], "events", { hello: "tabs" }, 2);
    for (const inbox of inboxes) assert.deepEqual(await inbox.after(tabs[0]), [["events", { hello: "tabs" }, 2]]);
  });

  it("reaches no other user and no guest", async (t) => {
    const alice = await tabOf(t, "alice");
    const inboxes = [await tabOf(t, "bob"), await connect(t, server), await connect(t, server)].map((socket) => new Inbox(socket));
    alice.emit("events", "private");
    for (const inbox of inboxes) assert.deepEqual(await inbox.after(alice), []);
  });

  it("stays with the sender if that is a guest: guests are not one user", async (t) => {
    const [guest, other, alice] = [await connect(t, server), await connect(t, server), await tabOf(t, "alice")];
    const [own, others, alices] = [guest, other, alice].map((socket) => new Inbox(socket));
    guest.emit("events", "anybody?");
    assert.deepEqual(await own.after(guest), [["events", "anybody?"]]);
    assert.deepEqual(await others.after(guest), []);
    assert.deepEqual(await alices.after(guest), []);
  });

  it("reaches tabs on every transport, bytes included", async (t) => {
    const sender = await tabOf(t, "alice");
    const tabs = await Promise.all(Object.values(TRANSPORTS).map((transports) => tabOf(t, "alice", server, { transports })));
    const all = Promise.all(tabs.map((tab) => heard(tab, "events")));
    sender.emit("events", Buffer.from([1, 2, 3]), "text");
    for (const args of await all) assert.deepEqual(args, [Buffer.from([1, 2, 3]), "text"]);
  });

  it("arrives in the order in which it was sent", async (t) => {
    const [sender, tab] = [await tabOf(t, "alice"), await tabOf(t, "alice")];
    const inbox = new Inbox(tab);
    for (let number = 0; number < 500; number++) sender.emit("events", number);
    await inbox.after(sender);
    assert.deepEqual(inbox.of("events").flat(), Array.from({ length: 500 }, (_, number) => number));
  });
});

describe("with two sockets a user", { concurrency: 3 }, () => {
  const limited = (t, config) => serverFor(t, { auth, users: { max_sockets: 2 }, ...config });

  async function refusedAsTooMany(t, target, user = "alice") {
    const error = await refusal(t, target, { auth: { token: tokens[user] } });
    assert.match(error.message, /^too_many_sockets: \S/);
    assert.equal(error.data.code, "too_many_sockets");
    assert.equal(error.data.retry, false);
  }

  /** Connects as soon as the server has noticed that there is room. */
  function admitted(t, target, user) {
    return until(`${user} is let in`, async () => {
      try {
        return await tabOf(t, user, target);
      } catch (error) {
        if (error.data?.code !== "too_many_sockets") throw error;
      }
    });
  }

  it("the third is refused, and no other user minds", async (t) => {
    const target = await limited(t);
    const [first] = [await tabOf(t, "alice", target), await tabOf(t, "alice", target)];
    await refusedAsTooMany(t, target);
    assert.equal((await ack(await tabOf(t, "bob", target), "whoami")).user, "bob");
    assert.equal((await ack(await connect(t, target), "whoami")).user, null);
    assert.equal((await ack(first, "whoami")).user, "alice");
  });

  it("a refused one counts for nothing, however often it tries", async (t) => {
    const target = await limited(t);
    const [, second] = [await tabOf(t, "alice", target), await tabOf(t, "alice", target)];
    for (let i = 0; i < 5; i++) await refusedAsTooMany(t, target);
    second.close();
    await admitted(t, target, "alice");
    await refusedAsTooMany(t, target);
  });

  it("one refused for its token counts for nothing either", async (t) => {
    const target = await limited(t);
    const expired = await token("alice", { exp: 1 });
    for (let i = 0; i < 5; i++) assert.match((await refusal(t, target, { auth: { token: expired } })).message, /^unauthorized/);
    await tabOf(t, "alice", target);
    await tabOf(t, "alice", target);
    await refusedAsTooMany(t, target);
  });

  const leave = {
    "says goodbye": (socket) => socket.disconnect(),
    "closes its engine": (socket) => socket.io.engine.close(),
    "has its connection cut": (socket) => socket.io.engine.transport.ws._socket.destroy(),
  };
  for (const [name, go] of Object.entries(leave)) {
    it(`there is room again when one ${name}`, async (t) => {
      const target = await limited(t);
      const leaving = await tabOf(t, "alice", target);
      await tabOf(t, "alice", target);
      await refusedAsTooMany(t, target);
      go(leaving);
      await admitted(t, target, "alice");
      await refusedAsTooMany(t, target);
    });
  }

  it("there is room again when one closes its polling session", async (t) => {
    const target = await limited(t);
    const leaving = await tabOf(t, "alice", target, { transports: ["polling"] });
    await tabOf(t, "alice", target);
    leaving.close();
    await admitted(t, target, "alice");
  });

  it("there is room again when one is not heard of any more", async (t) => {
    const target = await limited(t, { engine: { ping_interval: "1s", ping_timeout: "1s" } });
    // A client by hand: its connection stays open, and it answers no ping.
    const silent = await RawSocket.connected(t, target, { auth: { token: tokens.alice } });
    await tabOf(t, "alice", target);
    await refusedAsTooMany(t, target);
    await admitted(t, target, "alice");
    await silent.whenClosed();
  });

  it("disconnect_oldest lets the third in and ends the first for good", async (t) => {
    const target = await limited(t, { users: { max_sockets: 2, over_limit: "disconnect_oldest" } });
    const [first, second] = [await tabOf(t, "alice", target), await tabOf(t, "alice", target)];
    const gone = disconnected(first);
    const third = await tabOf(t, "alice", target);
    assert.equal(await gone, "io server disconnect");
    assert.equal((await ack(second, "whoami")).user, "alice");
    assert.equal((await ack(third, "whoami")).user, "alice");
  });
});

describe("five hundred sockets of ten users", () => {
  it("come and go by all transports and ways, twice, and leave no one behind", { timeout: 120_000 }, async (t) => {
    const [USERS, EACH] = [10, 50];
    const target = await serverFor(t, { auth, users: { max_sockets: EACH } });
    const bearers = await Promise.all(Array.from({ length: USERS }, (_, user) => token(`user-${user}`)));
    const transports = Object.values(TRANSPORTS);
    const sockets = [];
    t.after(() => sockets.forEach((socket) => socket.close()));

    // The server may still be noticing that the first crowd has left, so a refusal for the number
    // of sockets is no failure yet; whoever stays out until the deadline is one.
    const enter = (number) =>
      until(`socket ${number} is let in`, async () => {
        const socket = open(target, { transports: transports[number % 3], auth: { token: bearers[number % USERS] }, timeout: 30_000 });
        sockets.push(socket);
        return connected(socket, 30_000).catch((error) => {
          if (error.data?.code !== "too_many_sockets") throw error;
        });
      }, 20_000);

    for (let round = 1; round <= 2; round++) {
      const crowd = await Promise.all(Array.from({ length: USERS * EACH }, (_, number) => enter(number)));
      // Full to the last place: had the first round left one behind, somebody would have stayed out.
      for (const bearer of bearers) {
        assert.match((await refusal(t, target, { auth: { token: bearer } })).message, /^too_many_sockets/);
      }
      const [first] = crowd;
      const others = crowd.filter((socket, number) => number % USERS === 0 && socket !== first);
      const all = Promise.all(others.map((socket) => heard(socket, "events", (said) => said === round, 15_000)));
      first.emit("events", round);
      assert.equal((await all).length, EACH - 1, "the propagation reaches every tab");

      // Cutting needs a connection to cut: a polling session that falls silent ends by its ping timeout.
      await Promise.all(crowd.filter((_, number) => number % 3 === 2).map(upgraded));
      crowd.forEach((socket, number) => {
        const ws = socket.io.engine.transport.ws;
        if (ws && number % 2) ws._socket.destroy();
        else socket.close();
      });
      await until("all clients know that they are gone", () => crowd.every((socket) => !socket.connected));
    }
  });
});

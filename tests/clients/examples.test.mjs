// The examples that people copy do what they say.

import assert from "node:assert/strict";
import { describe, it } from "node:test";

import { Inbox, ack, connect, heard, refusal } from "./support/clients.mjs";
import { exampleForThisFile } from "./support/server.mjs";
import { SECRET, token } from "./support/tokens.mjs";
import { until } from "./support/waiting.mjs";

const chat = await exampleForThisFile("chat");

const enter = (t, name) => connect(t, chat, { auth: { name } });

describe("the chat", () => {
  it("shows who joins what was said, and then everything", async (t) => {
    const [ada, bob] = [await enter(t, "ada"), await enter(t, "bob")];
    assert.deepEqual(await ack(ada, "join", "lobby"), []);
    assert.equal(await ack(ada, "say", { room: "lobby", text: "first" }), 0);
    const before = await ack(bob, "join", "lobby");
    assert.deepEqual(before, [{ room: "lobby", from: "ada", text: "first", number: 0 }]);
    const said = heard(ada, "said", ({ number }) => number === 1);
    assert.equal(await ack(bob, "say", { room: "lobby", text: "second" }), 1);
    assert.deepEqual(await said, [{ room: "lobby", from: "bob", text: "second", number: 1 }]);
  });

  it("keeps the last fifty messages", async (t) => {
    const [ada, bob] = [await enter(t, "ada"), await enter(t, "bob")];
    await ack(ada, "join", "long");
    for (let number = 0; number < 60; number++) await ack(ada, "say", { room: "long", text: `${number}` });
    const numbers = (await ack(bob, "join", "long")).map(({ number }) => number);
    assert.deepEqual(numbers, Array.from({ length: 50 }, (_, at) => at + 10));
  });

  it("lets nobody speak who is not there, or enter without a name", async (t) => {
    const ada = await enter(t, "ada");
    assert.equal((await ack(ada, "say", { room: "elsewhere", text: "?" })).error.code, "forbidden");
    const refused = await refusal(t, chat, { auth: { name: " " } });
    assert.equal(refused.data.code, "bad_request");
  });
});

describe("presence", async () => {
  // So that a reload is surely within the time to come back, and an end does not keep the test waiting.
  const servers = { patient: await exampleForThisFile("presence", { OFFLINE_AFTER: "600000" }), quick: await exampleForThisFile("presence", { OFFLINE_AFTER: "1" }) };
  const enter = (t, server, name) => connect(t, server, { auth: { name } });
  const news = (socket, user, online) => heard(socket, "presence", (change) => change.user === user && change.online === online);

  it("lists who is there, with their tabs", async (t) => {
    const { patient } = servers;
    const [zoe] = [await enter(t, patient, "zoe"), await enter(t, patient, "adam"), await enter(t, patient, "zoe")];
    assert.deepEqual(await ack(zoe, "who"), { users: [["adam", 1], ["zoe", 2]], complete: true });
    assert.deepEqual(await ack(zoe, "friends", ["adam", "eve", "zoe"]), [true, false, true]);
  });

  it("tells the others who comes and goes", async (t) => {
    const { quick } = servers;
    const watcher = await enter(t, quick, "watcher");
    const came = news(watcher, "ada", true);
    const ada = await enter(t, quick, "ada");
    await came;
    const gone = news(watcher, "ada", false);
    ada.close();
    await gone;
    assert.deepEqual(await ack(watcher, "friends", ["ada"]), [false]);
  });

  it("says nothing of a reload, a second tab, or to the user itself", async (t) => {
    const { patient } = servers;
    const watcher = await enter(t, patient, "watcher");
    const changes = [];
    watcher.on("presence", (change) => changes.push(change));
    const bobs = [];
    const onOpen = (socket) => socket.on("presence", (change) => bobs.push(change));
    const bob = await connect(t, patient, { auth: { name: "bob" }, onOpen });
    bob.close();
    await until("the tab has gone", async () => !(await ack(watcher, "who")).users.some(([name]) => name === "bob"));
    await connect(t, patient, { auth: { name: "bob" }, onOpen });
    await connect(t, patient, { auth: { name: "bob" }, onOpen });
    // Told one after the other: once the last has come, all have.
    await enter(t, patient, "last");
    await until("the last one has come", () => changes.some(({ user }) => user === "last"));
    assert.deepEqual(changes.filter(({ user }) => user === "bob"), [{ user: "bob", online: true }]);
    assert.deepEqual(bobs.filter(({ user }) => user === "bob"), []);
  });

  it("refuses those without a name", async (t) => {
    assert.equal((await refusal(t, servers.quick, { auth: { name: "" } })).data.code, "bad_request");
  });
});

describe("collaborative editing", async () => {
  const server = await exampleForThisFile("collaborative");
  const open = (t) => connect(t, server);
  const bytes = (text) => Buffer.from(text);

  /** A document of this client: the texts of its updates by their numbers, filled from now on. */
  function follow(socket, name) {
    const updates = new Map();
    socket.on("update", (of, number, update) => of === name && updates.set(number, update.toString()));
    return updates;
  }
  const whole = (updates) => [...updates].sort(([a], [b]) => a - b).map(([, text]) => text).join("");

  it("brings every update to all, and the document to who comes late", async (t) => {
    const [ada, bob, late] = [await open(t), await open(t), await open(t)];
    const [adas, bobs, lates] = [ada, bob, late].map((socket) => follow(socket, "notes"));
    assert.equal(await ack(ada, "open", "notes"), 0);
    assert.equal(await ack(bob, "open", "notes"), 0);
    // Both at once, more than a packet has room for attachments.
    const numbers = await Promise.all(Array.from({ length: 30 }, (_, at) => ack(at % 2 ? ada : bob, "update", "notes", bytes(`${at},`))));
    assert.deepEqual([...new Set(numbers)].sort((a, b) => a - b), Array.from({ length: 30 }, (_, at) => at));
    await until("each has the other's updates", () => adas.size === 15 && bobs.size === 15);
    assert.equal(await ack(late, "open", "notes"), 30);
    assert.equal(lates.size, 30);
    assert.deepEqual(new Map([...lates].sort(([a], [b]) => a - b)), new Map([...adas, ...bobs].sort(([a], [b]) => a - b)));
    await ack(ada, "update", "notes", bytes("end"));
    await until("who came late hears what is new", () => whole(lates).endsWith("end"));
  });

  it("lets a client say all updates in one", async (t) => {
    const [ada, late] = [await open(t), await open(t)];
    await ack(ada, "open", "long");
    for (const text of ["a", "b", "c"]) await ack(ada, "update", "long", bytes(text));
    assert.equal(await ack(ada, "compact", "long", 1, bytes("ab")), true);
    const updates = follow(late, "long");
    assert.equal(await ack(late, "open", "long"), 2);
    assert.equal(whole(updates), "abc");
    assert.equal((await ack(ada, "compact", "long", 3, bytes("?"))).error.code, "bad_request");
  });

  it("has bounds, and is for those who have opened it", async (t) => {
    const [ada, stranger] = [await open(t), await open(t)];
    await ack(ada, "open", "bounds");
    assert.equal((await ack(stranger, "update", "bounds", bytes("?"))).error.code, "forbidden");
    assert.equal((await ack(ada, "update", "bounds", Buffer.alloc(64 * 1024 + 1))).error.code, "too_large");
    assert.equal((await ack(ada, "update", "bounds", "text")).error.code, "bad_request");
    for (let number = 0; number < 64; number++) assert.equal(await ack(ada, "update", "bounds", Buffer.alloc(64 * 1024)), number);
    assert.equal((await ack(ada, "update", "bounds", bytes("more"))).error.code, "too_large");
    assert.equal(await ack(ada, "compact", "bounds", 63, bytes("short")), true);
    assert.equal(await ack(ada, "update", "bounds", bytes("more")), 64);
  });
});

describe("tenants", async () => {
  const server = await exampleForThisFile("tenants", { JWT_SECRET: SECRET });
  const enter = async (t, tenant, user, claims = { tenant }) =>
    connect(t, server, { namespace: `/tenants/${tenant}`, auth: { token: await token(user, claims) } });

  it("hear only their own", async (t) => {
    const [ada, bob, eve] = [await enter(t, "acme", "ada"), await enter(t, "acme", "bob"), await enter(t, "zenith", "ada")];
    const ordered = heard(bob, "ordered");
    const inbox = new Inbox(eve);
    for (const socket of [ada, bob, eve]) assert.equal(await ack(socket, "join", "kitchen"), true);
    assert.equal(await ack(ada, "order", { article: "bolt", pieces: 7 }), true);
    assert.deepEqual(await ordered, [{ article: "bolt", pieces: 7 }]);
    const said = heard(bob, "said");
    ada.emit("say", "kitchen", "hello");
    assert.deepEqual(await said, ["hello"]);
    // Rooms and users of one name are others in another tenant.
    assert.deepEqual(await inbox.after(ada), []);
    assert.equal(await ack(ada, "whoami"), "acme:ada");
    assert.equal(await ack(eve, "whoami"), "zenith:ada");
  });

  it("are closed to everybody else", async (t) => {
    for (const claims of [{ tenant: "zenith" }, {}, { tenant: ["acme"] }]) {
      const refused = await enter(t, "acme", "mallory", claims).then(() => assert.fail("let in"), (error) => error);
      assert.equal(refused.message, "forbidden: not your tenant");
    }
    const refused = await refusal(t, server, { namespace: "/tenants/acme" });
    assert.equal(refused.data.code, "unauthorized");
  });
});

describe("load shedding", async () => {
  const server = await exampleForThisFile("load_shedding", { PLACES: "2" });
  const knock = () => server.get("/socket.io/?EIO=4&transport=polling");

  it("refuses work and newcomers while there is no place", async (t) => {
    const [ada, bob, eve] = [await connect(t, server), await connect(t, server), await connect(t, server)];
    for (const socket of [ada, bob]) socket.emit("work", 25_000);
    await heard(eve, "load", (taken) => taken === 2);
    const { error } = await ack(eve, "work", 1);
    assert.deepEqual([error.code, error.retry], ["unavailable", true]);
    const refused = await knock();
    assert.equal(refused.status, 403);
    assert.deepEqual(await refused.json(), { code: 4, message: "the server is busy" });
    // Her place is free again, long before her work would have been done.
    ada.close();
    await heard(eve, "load", (taken) => taken === 1);
    assert.equal(await ack(eve, "work", 1), "done");
    await connect(t, server);
  });

  it("refuses the events of a socket that sends too many", async (t) => {
    const socket = await connect(t, server);
    const answers = await Promise.all(Array.from({ length: 500 }, () => ack(socket, "load")));
    const refused = answers.filter((answer) => answer.error);
    assert.ok(refused.length > 0 && refused.length < 500, `${refused.length}`);
    assert.ok(refused.every(({ error }) => error.code === "rate_limited" && error.retry));
  });
});

describe("the gateway beside NestJS", async () => {
  const server = await exampleForThisFile("nestjs_gateway");
  const enter = (t, name) => connect(t, server, { namespace: "/cats", auth: { name } });

  it("answers by what its handlers return", async (t) => {
    const [ada, bob] = [await enter(t, "ada"), await enter(t, "bob")];
    const watching = heard(bob, "watching");
    bob.emit("watch");
    assert.deepEqual(await watching, [true]);
    const created = heard(bob, "created");
    assert.deepEqual(await ack(ada, "create", { name: "Tom", age: 3 }), { id: 1 });
    assert.deepEqual(await created, [{ name: "Tom", age: 3 }]);
    const counted = [];
    ada.on("count", (number) => counted.push(number));
    ada.emit("count", 3);
    await until("all numbers have come", () => counted.length === 3);
    assert.deepEqual(counted, [1, 2, 3]);
  });

  it("keeps out what its guards and checks refuse, and says so as NestJS does", async (t) => {
    const [ada, admin] = [await enter(t, "ada"), await enter(t, "admin")];
    for (const cat of [{ name: "Tom" }, { name: "Tom", age: 3, admin: true }, { name: "", age: 3 }, "Tom"]) {
      const exception = heard(ada, "exception");
      assert.equal((await ack(ada, "create", cat)).error.code, "bad_request", JSON.stringify(cat));
      assert.equal((await exception)[0].status, "error");
    }
    const exception = heard(ada, "exception");
    ada.emit("remove");
    assert.deepEqual(await exception, [{ status: "error", message: "for admins only" }]);
    assert.equal(await ack(admin, "remove"), "removed");
    assert.equal((await refusal(t, server, { namespace: "/cats" })).message, "who are you?");
  });
});

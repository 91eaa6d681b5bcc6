// Messages that wait for users: each device gets each of them, in order, now or when it comes, until
// it has acknowledged it. One node, with its store in a file.

import assert from "node:assert/strict";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, it } from "node:test";

import * as msgpack from "socket.io-msgpack-parser";

import { TRANSPORTS, ack, connect, connectV2, disconnected, heard, refusal } from "./support/clients.mjs";
import { BackEnd, Device } from "./support/kept.mjs";
import { freePorts, runBinary, serverFor, serverForThisFile } from "./support/server.mjs";
import { SECRET, token } from "./support/tokens.mjs";
import { until } from "./support/waiting.mjs";

const dir = await mkdtemp(join(tmpdir(), "switchboard-inbox-"));
after(() => rm(dir, { recursive: true, force: true }));
let files = 0;

const [admin] = await freePorts(1);
const configured = (admin, { inbox, store, ...more } = {}) => ({
  admin_listen: `127.0.0.1:${admin}`,
  auth: { hs256_secret: SECRET },
  store: { url: `sqlite:${join(dir, `${files++}.db`)}`, ...store },
  inbox: { enabled: true, ...inbox },
  ...more,
});
const server = await serverForThisFile(configured(admin));
const backEnd = new BackEnd(admin);

/** A server of the test's own, with a back end. */
async function own(t, options) {
  const [port] = await freePorts(1);
  const config = configured(port, options);
  const start = () => serverFor(t, config);
  return { server: await start(), backEnd: new BackEnd(port), start, config };
}

let users = 0;
const user = () => `user ${users++}`;
const note = (...args) => ({ event: "note", args });
const range = (from, to) => Array.from({ length: to - from + 1 }, (_, n) => from + n);

describe("a message for a user who is away", () => {
  it("comes when the user does, in order, once", async (t) => {
    const bob = user();
    for (const n of range(1, 5)) assert.equal(await backEnd.kept(bob, note(n)), n);
    const phone = await Device.open(t, server, bob);
    assert.deepEqual(await phone.has(5), range(1, 5));
    await until("all are acknowledged", async () => (await backEnd.inbox(bob)).devices[""] === 5);
    phone.close();
    const again = await Device.open(t, server, bob);
    await backEnd.kept(bob, note(6));
    assert.deepEqual(await again.has(1), [6]);
  });

  for (const [name, transports] of Object.entries(TRANSPORTS)) {
    it(`has all its arguments, bytes included: ${name}`, async (t) => {
      const bob = user();
      await backEnd.kept(bob, { event: "order", args: ["a", { b: [1, null] }, 2.5, "ünïcode 😀"] });
      await backEnd.kept(bob, { event: "nothing" });
      const phone = await Device.open(t, server, bob, { transports });
      await phone.has(2);
      assert.deepEqual(phone.got, [["order", "a", { b: [1, null] }, 2.5, "ünïcode 😀"], ["nothing"]]);
    });
  }

  it("comes to the device of a client of version 2, too", async (t) => {
    const bob = user();
    await backEnd.kept(bob, note("old"));
    const socket = await connectV2(t, server, { query: { token: await token(bob) } });
    const [text] = await heard(socket, "note", (_, answer) => (answer(), true));
    assert.equal(text, "old");
    await until("it is acknowledged", async () => (await backEnd.inbox(bob)).devices[""] === 1);
  });

  it("survives the end of the server by kill -9", async (t) => {
    const { server: first, backEnd, start } = await own(t);
    const bob = user();
    await backEnd.kept(bob, note("before"));
    await first.kill();
    const second = await start();
    const phone = await Device.open(t, second, bob);
    await backEnd.kept(bob, note("after"));
    assert.deepEqual(await phone.has(2), ["before", "after"]);
  });
});

describe("a device", () => {
  it("gets everything that is not acknowledged again after a reconnect", async (t) => {
    const bob = user();
    const phone = await Device.open(t, server, bob, { acknowledges: false });
    for (const n of range(1, 4)) await backEnd.kept(bob, note(n));
    await phone.has(4);
    phone.unanswered.splice(0, 2).forEach((answer) => answer());
    await until("two are acknowledged", async () => (await backEnd.inbox(bob)).devices[""] === 2);
    phone.socket.io.engine.close();
    const again = await Device.open(t, server, bob);
    assert.deepEqual(await again.has(2), [3, 4]);
  });

  it("is not taken at its word for another connection: an answer that comes late answers nothing", async (t) => {
    const bob = user();
    const phone = await Device.open(t, server, bob, { acknowledges: false });
    for (const n of [1, 2]) await backEnd.kept(bob, note(n));
    await phone.has(2);
    const [late] = phone.unanswered.splice(0);
    const left = disconnected(phone.socket);
    phone.socket.io.engine.close();
    await left;
    phone.socket.connect();
    await phone.has(4);
    late();
    phone.unanswered[1]();
    await ack(phone.socket, "whoami");
    assert.deepEqual((await backEnd.inbox(bob)).devices, { "": 0 });
    phone.unanswered[0]();
    await until("both are acknowledged", async () => (await backEnd.inbox(bob)).devices[""] === 2);
  });

  it("that speaks MessagePack is one like any other", async (t) => {
    const { server, backEnd } = await own(t, { engine: { parser: "msgpack" } });
    const bob = user();
    await backEnd.kept(bob, { event: "order", args: ["a", { b: [1, null] }] });
    for (const transports of Object.values(TRANSPORTS)) {
      const phone = await Device.open(t, server, bob, { transports, parser: msgpack });
      await phone.has(1);
      assert.deepEqual(phone.got, [["order", "a", { b: [1, null] }]]);
      await until("it is acknowledged", async () => (await backEnd.inbox(bob)).messages.length === 0);
      phone.close();
      await backEnd.kept(bob, { event: "order", args: ["a", { b: [1, null] }] });
    }
  });

  it("that is new gets what comes from then on, the very first one everything", async (t) => {
    const bob = user();
    await backEnd.kept(bob, note(1));
    const phone = await Device.open(t, server, bob, { device: "phone" });
    await phone.has(1);
    const desk = await Device.open(t, server, bob, { device: "desk" });
    await until("it is known", async () => "desk" in (await backEnd.inbox(bob)).devices);
    await backEnd.kept(bob, note(2));
    assert.deepEqual(await desk.has(1), [2]);
    assert.deepEqual(await phone.has(2), [1, 2]);
    await until("both have all", async () => {
      const { devices } = await backEnd.inbox(bob);
      return devices.phone === 2 && devices.desk === 2;
    });
  });

  it("is one, whatever the number of its sockets: if one leaves, another one goes on", async (t) => {
    const bob = user();
    const first = await Device.open(t, server, bob, { acknowledges: false });
    await backEnd.kept(bob, note(1));
    await first.has(1);
    const second = await Device.open(t, server, bob);
    await backEnd.kept(bob, note(2));
    await first.has(2);
    assert.deepEqual(second.got, [], "one of them gets it");
    first.close();
    assert.deepEqual(await second.has(2), [1, 2]);
  });

  it("that never acknowledges holds back nobody else", async (t) => {
    const bob = user();
    const silent = await Device.open(t, server, bob, { device: "silent", acknowledges: false });
    const other = await Device.open(t, server, bob, { device: "other" });
    for (const n of range(1, 50)) await backEnd.kept(bob, note(n));
    assert.deepEqual(await other.has(50), range(1, 50));
    await silent.has(32);
    await ack(silent.socket, "whoami");
    assert.equal(silent.got.length, 32, "no more than the window");
    silent.acknowledge();
    assert.deepEqual(await silent.has(50), range(1, 50));
  });

  it("gets the messages of each namespace there", async (t) => {
    const { server, backEnd } = await own(t, { admin_ui: {} });
    const bob = user();
    await backEnd.kept(bob, { ...note("elsewhere"), namespace: "/elsewhere" });
    await backEnd.kept(bob, note("here"));
    const phone = await Device.open(t, server, bob);
    assert.deepEqual(await phone.has(1), ["here"]);
    const { messages, devices } = await until("one is left", async () => {
      const inbox = await backEnd.inbox(bob);
      return inbox.messages.length === 1 && inbox;
    });
    assert.equal(messages[0].namespace, "/elsewhere");
    assert.deepEqual(devices, { "": 0 });
  });

  it("hears the numbers if it asks for them", async (t) => {
    const bob = user();
    const numbered = await Device.open(t, server, bob, { device: "a", inbox: true });
    const plain = await Device.open(t, server, bob, { device: "b" });
    await until("both are known", async () => Object.keys((await backEnd.inbox(bob)).devices).length === 2);
    await backEnd.kept(bob, note("x"));
    await numbered.has(1);
    await plain.has(1);
    assert.deepEqual([numbered.got, plain.got], [[["note", "x", 1]], [["note", "x"]]]);
  });

  it("of a wrong kind is refused, a guest's, too", async (t) => {
    for (const device of ["", "x".repeat(65), "a\0b", 7, ["a"]]) {
      for (const auth of [{ device }, { device, token: await token("bob") }]) {
        const error = await refusal(t, server, { auth });
        assert.match(error.message, /^bad_request: auth\.device/);
      }
    }
    await connect(t, server, { auth: { device: "😀".repeat(64) } });
  });

  it("is nobody's without a user", async (t) => {
    const guest = await connect(t, server, { auth: { device: "phone" } });
    const got = [];
    guest.onAny((...event) => got.push(event));
    // What a guest might be taken for.
    const names = [guest.id, "null", "undefined", "anonymous"];
    for (const name of names) await backEnd.kept(name, note(1));
    await ack(guest, "whoami");
    assert.deepEqual(got, []);
    for (const name of names) assert.deepEqual((await backEnd.inbox(name)).devices, {});
  });
});

describe("what a back end says", () => {
  it("is kept once for each id, and the first answer is given again", async (t) => {
    const bob = user();
    assert.deepEqual(await backEnd.keep(bob, { ...note(1), id: "a" }), { status: 202, body: { id: "a", seq: 1 } });
    assert.deepEqual(await backEnd.keep(bob, { ...note(2), id: "a" }), { status: 200, body: { id: "a", seq: 1 } });
    const phone = await Device.open(t, server, bob);
    assert.deepEqual(await phone.has(1), [1]);
    await until("it is acknowledged", async () => (await backEnd.inbox(bob)).devices[""] === 1);
    assert.equal((await backEnd.keep(bob, { ...note(3), id: "a" })).status, 200);
    assert.equal((await backEnd.keep(user(), { ...note(3), id: "a" })).status, 202, "ids count for each user");
  });

  it("has a bound in number and in bytes", async (t) => {
    const { backEnd } = await own(t, { inbox: { max_messages: 2, max_bytes: "1kB" } });
    const bob = user();
    for (const n of [1, 2]) await backEnd.kept(bob, { ...note(n), id: `${n}` });
    const full = await backEnd.keep(bob, { ...note(3), id: "3" });
    assert.deepEqual([full.status, full.body.error.code], [409, "too_many_messages"]);
    assert.equal((await backEnd.keep(bob, { ...note(1), id: "1" })).status, 200, "what is there is there");
    const large = await backEnd.keep(bob, note("x".repeat(2000)));
    assert.deepEqual([large.status, large.body.error.code], [413, "too_large"]);
    assert.deepEqual((await backEnd.ask("DELETE", `/users/${encodeURIComponent(bob)}/inbox/1`)).body, { deleted: 1 });
    assert.equal(await backEnd.kept(bob, { ...note(3), id: "3" }), 3, "a refused one took no number");
  });

  it("may take the place of what it said before", async (t) => {
    const { server, backEnd } = await own(t, { inbox: { max_messages: 2 } });
    const bob = user();
    await backEnd.kept(bob, { ...note(1), collapse: "badge" });
    await backEnd.kept(bob, note(2));
    assert.equal(await backEnd.kept(bob, { ...note(3), collapse: "badge" }), 3);
    const phone = await Device.open(t, server, bob);
    assert.deepEqual(await phone.has(2), [2, 3]);
  });

  it("is listed until every device has it, page by page", async () => {
    const bob = user();
    for (const n of range(1, 3)) await backEnd.kept(bob, { ...note(n), id: `${n}`, ttl: "1h" });
    const page = await backEnd.inbox(bob, "?limit=2");
    assert.deepEqual(page.messages.map(({ seq }) => seq), [1, 2]);
    assert.equal(page.next, 2);
    const [{ created, expires, ...message }] = page.messages;
    assert.deepEqual(message, { seq: 1, id: "1", namespace: "/", event: "note", args: [1] });
    assert.equal(Date.parse(expires) - Date.parse(created), 3_600_000);
    assert.match(created, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);
    const last = await backEnd.inbox(bob, `?limit=2&after=${page.next}`);
    assert.deepEqual([last.messages.map(({ seq }) => seq), last.next], [[3], null]);
    assert.deepEqual((await backEnd.ask("DELETE", `/users/${encodeURIComponent(bob)}/inbox`)).body, { deleted: 3 });
    assert.deepEqual((await backEnd.inbox(bob)).messages, []);
  });

  it("runs out", async (t) => {
    const bob = user();
    await backEnd.kept(bob, { ...note("short"), ttl: "200ms" });
    await backEnd.kept(bob, note("long"));
    await until("one has run out", async () => (await backEnd.inbox(bob)).messages.length === 1);
    const phone = await Device.open(t, server, bob);
    assert.deepEqual(await phone.has(1), ["long"]);
  });

  it("is refused if it makes no sense", async () => {
    const bob = user();
    for (const message of [
      {}, { event: "" }, { event: "disconnect" }, { event: "a\0b" }, { ...note(), namespace: "chat" }, { ...note(), id: "" },
      { ...note(), id: "a\0b" }, { ...note(), id: "x".repeat(513) }, { ...note(), collapse: "" }, { ...note(), ttl: "31d" },
      { ...note(), ttl: "0s" }, { ...note(), ttl: 5 }, { ...note(), ttl: "soon" }, { ...note(), args: {} }, { ...note(), unknown: 1 },
    ]) {
      const { status, body } = await backEnd.keep(bob, message);
      assert.deepEqual([status, body.error.code], [400, "bad_request"], JSON.stringify(message));
    }
    assert.equal((await backEnd.keep("a\0b", note())).status, 400);
    assert.equal((await backEnd.ask("GET", `/users/bob/inbox?limit=0`)).status, 400);
    assert.equal((await backEnd.ask("GET", `/users/bob/inbox?after=-1`)).status, 400);
    assert.deepEqual((await backEnd.inbox(bob)).messages, []);
  });

  it("may have any text", async (t) => {
    for (const text of ["'; DROP TABLE inbox_message; --", 'a"b\\%_', "😀".repeat(60)]) {
      await backEnd.kept(text, { event: text, args: [text], id: text, collapse: text });
      const phone = await Device.open(t, server, text, { device: text.slice(0, 60) });
      await phone.has(1);
      assert.deepEqual(phone.got, [[text, text]]);
      await until("it is acknowledged", async () => (await backEnd.inbox(text)).messages.length === 0);
    }
  });

  it("is counted", async (t) => {
    const { server, backEnd } = await own(t);
    const bob = user();
    await backEnd.kept(bob, { ...note(1), id: "1" });
    await backEnd.keep(bob, { ...note(1), id: "1" });
    await (await Device.open(t, server, bob)).has(1);
    await until("it is acknowledged", async () => /switchboard_inbox_acknowledged_total 1/.test(await backEnd.metrics()));
    const metrics = await backEnd.metrics();
    for (const line of ['posts_total{result="kept"} 1', 'posts_total{result="known"} 1', "delivered_total 1", "redelivered_total 0", "store_up 1"]) {
      assert.ok(metrics.includes(`switchboard_inbox_${line}`), line);
    }
  });

  it("needs an inbox", async (t) => {
    const [port] = await freePorts(1);
    await serverFor(t, { admin_listen: `127.0.0.1:${port}`, auth: { hs256_secret: SECRET } });
    const { status, body } = await new BackEnd(port).keep("bob", note());
    assert.equal(status, 404);
    assert.match(body.error.message, /inbox\.enabled/);
  });
});

describe("the file of the store", () => {
  it("is for one node", async (t) => {
    const { config } = await own(t);
    const [port] = await freePorts(1);
    const second = await runBinary(["serve"], { config: { ...config, listen: `127.0.0.1:${port}`, admin_listen: "" } });
    assert.equal(second.code, 1);
    assert.match(second.stderr, /^error: store\.url: the file \S+ is in use by another process$/m);
  });

  it("has to be one", async () => {
    const garbage = join(dir, "garbage.db");
    await writeFile(garbage, "this is no database\n".repeat(1000));
    for (const [file, why] of [["/nowhere/at/all.db", "unable to open database file: /nowhere/at/all.db"], [garbage, "file is not a database"]]) {
      const config = { listen: "127.0.0.1:0", admin_listen: "", store: { url: `sqlite:${file}` }, inbox: { enabled: true } };
      const { code, stderr } = await runBinary(["serve"], { config });
      assert.equal(code, 1);
      assert.ok(stderr.split("\n").includes(`error: store.url: cannot use the file ${file}: ${why}`), stderr);
    }
  });

  it("waits for the drain: nothing that was acknowledged comes again", async (t) => {
    const { server: first, backEnd, start } = await own(t);
    const bob = user();
    const phone = await Device.open(t, first, bob);
    for (const n of range(1, 20)) await backEnd.kept(bob, note(n));
    await phone.has(20);
    const left = disconnected(phone.socket);
    await first.stop();
    await left;
    const second = await start();
    const again = await Device.open(t, second, bob);
    await backEnd.kept(bob, note(21));
    assert.deepEqual(await again.has(1), [21]);
  });
});

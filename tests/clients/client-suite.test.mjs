// The server that the official suite of socket.io-client is run on (examples/client_suite.rs), as
// the unmodified client sees it.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { io } from "socket.io-client";

import { startExample } from "./support/server.mjs";
import { within, DEADLINE } from "./support/waiting.mjs";

let server;
const open = [];

before(async () => {
  server = await startExample("client_suite");
});

after(async () => {
  for (const socket of open) socket.disconnect();
  await server?.stop();
});

function socketOf(namespace = "/", options = {}) {
  const socket = io(server.url + namespace, { forceNew: true, ...options });
  open.push(socket);
  return socket;
}

/** The arguments of the socket's next event of this name. */
function heard(socket, event) {
  return within(DEADLINE, event, new Promise((resolve) => socket.once(event, (...args) => resolve(args))));
}

async function entered(namespace, options) {
  const socket = socketOf(namespace, options);
  await heard(socket, "connect");
  return socket;
}

test("refusals are the program's words and nothing else", async () => {
  for (const [namespace, message] of [["/no", "Auth failed (custom namespace)"], ["/?fail=true", "Auth failed (main namespace)"]]) {
    const [error] = await heard(socketOf(namespace), "connect_error");
    assert.equal(error.message, message);
    assert.equal(error.data, undefined);
  }
});

test("each namespace lets in, and tells a socket its id", async () => {
  for (const namespace of ["/", "/foo"]) {
    const socket = await entered(namespace);
    assert.equal(await socket.emitWithAck("getId"), socket.id, namespace);
  }
  for (const namespace of ["/timeout_socket", "/valid", "/asd"]) await entered(namespace);
});

test("the handshake has what the client has shown", async () => {
  const socket = socketOf("/abc", { query: { a: "b c", "&x": "&=?" }, auth: { token: "t" }, extraHeaders: { "x-own": "1" } });
  const [shown] = await heard(socket, "handshake");
  assert.equal(shown.query.a, "b c");
  assert.equal(shown.query["&x"], "&=?");
  assert.deepEqual(shown.auth, { token: "t" });
  assert.equal(shown.headers["x-own"], "1");
  assert.deepEqual([shown.secure, shown.xdomain], [false, false]);
  assert.ok(shown.url.startsWith("/socket.io/?") && Date.parse(shown.time) <= Date.now());
  assert.ok(Math.abs(Date.now() - shown.issued) < DEADLINE);
  assert.equal(shown.address, "127.0.0.1");
  const main = await entered("/", { query: { q: "1" } });
  assert.equal((await main.emitWithAck("getHandshake")).query.q, "1");
});

test("events without arguments, with one, and with several", async () => {
  const socket = await entered();
  socket.emit("hi");
  // With recovery each event ends with its place in the log, as in Node.js.
  assert.equal((await heard(socket, "hi")).length, 1);
  socket.emit("false");
  assert.equal((await heard(socket, "false"))[0], false);
  assert.deepEqual(await socket.emitWithAck("echo", { n: [1, null] }), { n: [1, null] });
  const texts = [];
  socket.on("takeUtf8", (text) => texts.push(text));
  socket.emit("getUtf8");
  await socket.emitWithAck("getId");
  assert.deepEqual(texts, ["てすと", "Я Б Г Д Ж Й", "Ä ä Ü ü ß", "utf8 — string", "utf8 — string"]);
});

test("dates are texts that JavaScript reads", async () => {
  const socket = await entered();
  const isDate = (text) => assert.ok(typeof text === "string" && Math.abs(Date.parse(text) - Date.now()) < DEADLINE, text);
  isDate(await socket.emitWithAck("getAckDate", { test: true }));
  socket.emit("getDate");
  isDate((await heard(socket, "takeDate"))[0]);
  socket.emit("getDateObj");
  isDate((await heard(socket, "takeDateObj"))[0].date);
});

test("the server asks back, and meanwhile handles what else comes", async () => {
  const socket = await entered();
  socket.emit("ack");
  const [answer] = await heard(socket, "ack");
  assert.equal(await socket.emitWithAck("echo", 1), 1);
  answer(5, { test: true });
  await heard(socket, "got it");
  socket.emit("ack");
  const [wrong] = await heard(socket, "ack");
  let got = false;
  socket.on("got it", () => (got = true));
  wrong(6, { test: true });
  await socket.emitWithAck("echo", 1);
  assert.equal(got, false);
});

test("bytes come and go", async () => {
  const socket = await entered();
  for (const [asked, answered] of [["doge", "doge"], ["getbin", "takebin"]]) {
    socket.emit(asked);
    const [bytes] = await heard(socket, answered);
    assert.equal(Buffer.from(bytes).toString(), "asdfasdf");
  }
  const bytes = Buffer.from("howdy");
  const mixed = { hello: "lol", message: bytes, goodbye: "gotcha" };
  for (const [event, argument, answer] of [["buffa", bytes, "buffack"], ["jsonbuff", mixed, "jsonbuff-ack"], ["blob", bytes, "back"], ["jsonblob", mixed, "jsonblob-ack"]]) {
    socket.emit(event, argument);
    await heard(socket, answer);
  }
  socket.emit("abuff1", bytes);
  socket.emit("abuff2", "second");
  await heard(socket, "abuff2-ack");
  const other = await entered();
  other.emit("blob1", bytes);
  other.emit("blob2", "second");
  other.emit("blob3", bytes);
  await heard(other, "blob3-ack");
});

test("what comes out of order is not answered", async () => {
  const socket = await entered();
  const answers = [];
  socket.onAny((event) => answers.push(event));
  socket.emit("abuff2", "first");
  socket.emit("blob3", Buffer.from("first"));
  socket.emit("buffa", "no bytes");
  await socket.emitWithAck("getId");
  assert.deepEqual(answers, []);
});

test("a client that comes back is the same socket", async () => {
  const socket = await entered("/", { reconnectionDelay: 10, reconnectionDelayMax: 20 });
  const { id } = socket;
  socket.emit("hi");
  await heard(socket, "hi");
  socket.io.engine.close();
  await heard(socket, "connect");
  assert.deepEqual([socket.recovered, socket.id], [true, id]);
});

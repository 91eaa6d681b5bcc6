// Requests of one polling session come one after the other, and one that breaks the protocol ends
// the session in a way that the client's waiting poll is told. Each row was compared with engine.io.

import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer } from "node:http";
import { connect as tcp } from "node:net";
import { after, describe, it } from "node:test";

import { Server } from "socket.io";

import { httpRequest, pollingUrl, rawSession } from "./support/raw.mjs";
import { memoryOf, serverFor, serverForThisFile } from "./support/server.mjs";
import { DEADLINE, until, within } from "./support/waiting.mjs";

/** A real Socket.IO server in this process, with the options of `new Server`. */
async function nodeServer(options) {
  const http = createServer();
  const io = new Server(http, options);
  http.listen(0, "127.0.0.1");
  await once(http, "listening");
  after(() => io.close());
  return { url: `http://127.0.0.1:${http.address().port}`, port: http.address().port };
}

const servers = { Switchboard: await serverForThisFile(), "Node.js": await nodeServer() };

/**
 * A request on a connection of its own, written as it is; `answer` is all that has come back. The
 * server has begun with it: it takes connections in their order, and has answered a later one.
 */
async function written(t, server, bytes) {
  const socket = tcp({ port: server.port, host: "127.0.0.1", noDelay: true });
  t.after(() => socket.destroy());
  const request = { socket, answer: "", closed: false };
  socket.on("data", (chunk) => (request.answer += chunk));
  socket.on("error", () => {}); // "close" follows
  socket.on("close", () => (request.closed = true));
  await once(socket, "connect");
  await new Promise((left) => socket.write(bytes, left));
  for (let later = 0; later < 2; later++) await httpRequest(server, "/socket.io/");
  return request;
}

const path = (server, sid) => pollingUrl(server, sid).slice(server.url.length);
const poll = (t, server, sid) => written(t, server, `GET ${path(server, sid)} HTTP/1.1\r\nHost: a\r\n\r\n`);
const unfinishedPost = (t, server, sid, body, length) => written(t, server, `POST ${path(server, sid)} HTTP/1.1\r\nHost: a\r\nContent-Type: text/plain\r\nContent-Length: ${length}\r\n\r\n${body}`);

const status = (request) => within(DEADLINE, "an answer", until("a head", () => request.answer.includes("\r\n\r\n") && Number(request.answer.slice(9, 12))));
const body = async (request) => {
  await status(request);
  const [head, text] = request.answer.split("\r\n\r\n");
  const length = Number(/content-length: (\d+)/i.exec(head)[1]);
  return until("the body", () => text.length >= length && text);
};

/** The session is known no more. */
async function isOver(server, sid) {
  const { status, text } = await fetch(pollingUrl(server, sid)).then(async (response) => ({ status: response.status, text: await response.text() }));
  assert.equal(status, 400, text);
  assert.equal(JSON.parse(text).code, 1);
}

for (const [name, server] of Object.entries(servers)) {
  describe(`one session's requests (${name})`, () => {
    it("a second poll ends it: the first hears so, the second is refused", async (t) => {
      const { sid } = await rawSession(server);
      const first = await poll(t, server, sid);
      const second = await poll(t, server, sid);
      assert.equal(await body(first), "1");
      assert.equal(await status(second), 400);
      await isOver(server, sid);
    });

    it("a second post while one is unfinished ends it, and the poll that waits hears so", async (t) => {
      const { sid } = await rawSession(server);
      const waiting = await poll(t, server, sid);
      const first = await unfinishedPost(t, server, sid, "4", 100);
      const second = await unfinishedPost(t, server, sid, "40", 2);
      assert.equal(await body(waiting), "1");
      assert.equal(await status(second), 400);
      // The one that is given up is answered 400 here, and only closed by Node.js.
      await until("the first is given up", () => first.closed || first.answer.startsWith("HTTP/1.1 400"));
      await isOver(server, sid);
    });

    it("a post that is broken off ends it, and the poll that waits hears so", async (t) => {
      const { sid } = await rawSession(server);
      const waiting = await poll(t, server, sid);
      const unfinished = await unfinishedPost(t, server, sid, "4", 100);
      unfinished.socket.destroy();
      assert.equal(await body(waiting), "1");
      await isOver(server, sid);
    });

    it("what cannot be read ends it, and the poll that waits hears so", async (t) => {
      for (const nonsense of ["xyz", "4{{{"]) {
        const session = await rawSession(server);
        assert.equal((await session.post("40")).status, 200);
        assert.match(await (await session.poll()).text(), /^40/);
        const waiting = await poll(t, server, session.sid);
        await session.post(nonsense);
        assert.equal(await body(waiting), "1", nonsense);
        await isOver(server, session.sid);
      }
    });

    it("a good-bye ends it: the poll that waits is let go", async (t) => {
      const session = await rawSession(server);
      const waiting = await poll(t, server, session.sid);
      assert.equal((await session.post("1")).status, 200);
      assert.equal(await body(waiting), "6");
      await isOver(server, session.sid);
    });

    it("one of another revision is refused and changes nothing", async () => {
      const session = await rawSession(server);
      for (const query of ["EIO=3&transport=polling", "transport=polling", "EIO=5&transport=polling"]) {
        const refused = await fetch(`${server.url}/socket.io/?${query}&sid=${session.sid}`, { method: "POST", body: "1:1" });
        assert.deepEqual([refused.status, (await refused.json()).code], [400, 3], query);
      }
      assert.equal((await session.post("3")).status, 200);
    });

    it("one after the other are as many as the client likes", async () => {
      const session = await rawSession(server);
      for (let post = 0; post < 20; post++) assert.equal((await session.post("3")).status, 200);
    });
  });
}

const MB = 1_000_000;

for (const [name, server] of Object.entries(servers)) {
  describe(`a request that is answered before its end (${name})`, () => {
    /** All that came back to a client that looks for an answer only after its last byte. */
    async function sentWhole(t, head, length) {
      const socket = tcp({ port: server.port, host: "127.0.0.1" });
      t.after(() => socket.destroy());
      const result = { answer: "", error: undefined };
      socket.on("error", (error) => (result.error = error));
      socket.pause();
      await once(socket, "connect");
      socket.write(`${head}\r\nHost: a\r\nContent-Type: text/plain\r\nContent-Length: ${length}\r\n\r\n`);
      const piece = Buffer.alloc(MB, "4");
      for (let left = length; left > 0; left -= MB) {
        await within(DEADLINE, "the request leaves", new Promise((left) => socket.write(piece, left)));
      }
      socket.on("data", (chunk) => (result.answer += chunk)).resume();
      await until("an answer, or an error", () => result.answer.includes("\r\n\r\n") || result.error);
      return result;
    }
    // Much more than the system keeps for a connection that nobody reads from.
    const SIZE = 32 * MB;

    it("reaches its client: an unknown session", async (t) => {
      const { answer, error } = await sentWhole(t, "POST /socket.io/?EIO=4&transport=polling&sid=nobody HTTP/1.1", SIZE);
      assert.equal(error, undefined);
      assert.match(answer, /^HTTP\/1.1 400 /);
    });

    it("reaches its client: more than one may send", async (t) => {
      const { sid } = await rawSession(server);
      const { answer, error } = await sentWhole(t, `POST ${path(server, sid)} HTTP/1.1`, SIZE);
      assert.equal(error, undefined);
      assert.match(answer, /^HTTP\/1.1 413 /);
    });
  });
}

describe("bodies that are never finished", () => {
  const payload = "4".repeat(MB - 1);

  /** Sessions that have each sent all of a body but its last byte. */
  async function unfinished(t, server, count) {
    const requests = [];
    for (let one = 0; one < count; one++) {
      const { sid } = await rawSession(server);
      requests.push(await unfinishedPost(t, server, sid, payload, MB));
    }
    return requests;
  }
  const refused = (requests) => requests.filter(({ answer }) => answer.startsWith("HTTP/1.1 503")).length;

  it("of one address take no more than they may, and small ones still get through", async (t) => {
    const server = await serverFor(t, { edge: { max_bodies_per_address: "5MB" } });
    const before = await memoryOf(server);
    const requests = await unfinished(t, server, 20);
    await until("all that is over the limit is refused", () => refused(requests) >= 15, 20_000);
    assert.ok(refused(requests) <= 16, "what is allowed is waited for");
    const after = await memoryOf(server);
    assert.ok(after - before < 20, `${before} MB became ${after} MB`);
    const { answer } = requests.find((request) => request.answer);
    assert.match(answer, /retry-after: \d+/);
    assert.match(answer, /"message":"Too many requests at once"/);

    const session = await rawSession(server);
    assert.equal((await session.post("40")).status, 200);
    for (const { socket } of requests) socket.destroy();
    await until("there is room again", async () => (await (await rawSession(server)).post(`42${JSON.stringify(["events", payload.slice(20)])}`)).status === 200);
  });

  it("on the whole node take no more than they may", async (t) => {
    const server = await serverFor(t, { edge: { max_bodies: "5MB" } });
    const requests = await unfinished(t, server, 10);
    await until("all that is over the limit is refused", () => refused(requests) >= 5, 20_000);
    assert.ok(refused(requests) <= 6, "what is allowed is waited for");
  });
});

// HTTP in the small: what clients in other languages send and operators meet, each beside a real
// Socket.IO server in Node.js where that has an answer of its own.

import assert from "node:assert/strict";
import { once } from "node:events";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { createServer, get } from "node:http";
import { connect as tcp } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, it } from "node:test";
import { gunzipSync, inflateSync } from "node:zlib";
import vm from "node:vm";

import { Server } from "socket.io";
import * as msgpack from "socket.io-msgpack-parser";
import { WebSocket } from "ws";

import { ack, connect, connected, openV2 } from "./support/clients.mjs";
import { RawSocket, declinedUpgrade, httpRequest, rawSession } from "./support/raw.mjs";
import { freePorts, serverFor, serverForThisFile } from "./support/server.mjs";
import { DEADLINE, until, within } from "./support/waiting.mjs";

const CLIENT = join(import.meta.dirname, "node_modules/socket.io/client-dist");

/** A real Socket.IO server in this process, with the options of `new Server`. */
async function nodeServer(options) {
  const http = createServer((_, response) => response.writeHead(404).end());
  const io = new Server(http, options);
  io.on("connection", (socket) => socket.on("events", (...args) => socket.emit("events", ...args)));
  http.listen(0, "127.0.0.1");
  await once(http, "listening");
  after(() => io.close());
  return { url: `http://127.0.0.1:${http.address().port}` };
}

const POLLING = "/socket.io/?EIO=4&transport=polling";
const headers = (count) => Object.fromEntries(Array.from({ length: count }, (_, number) => [`x-${number}`, "1"]));

describe("a handshake", async () => {
  const both = { Switchboard: await serverForThisFile(), "Node.js": await nodeServer() };
  for (const [name, server] of Object.entries(both)) {
    for (const [what, query, expected] of [
      ["with encoded values", "EIO=%34&transport=%70olling", 200],
      ["with encoded names", "%45IO=4&tr%61nsport=polling", 200],
      ["of several transports the last", "EIO=3&EIO=4&transport=websocket&transport=polling", 200],
      ["with an empty sid", "EIO=4&transport=polling&sid=", 200],
      ["with a plus", "EIO=4&transport=pol+ling", 0],
      ["of an older revision", "EIO=3&transport=polling", 5],
      ["of no revision", "transport=polling", 5],
      ["of a revision that nobody knows", "EIO=9&transport=polling", 5],
      ["of no transport", "EIO=4", 0],
    ]) {
      it(`${what} (${name})`, async () => {
        const { status, text } = await httpRequest(server, `/socket.io/?${query}`);
        assert.deepEqual(expected === 200 ? status : [status, JSON.parse(text).code], expected === 200 ? 200 : [400, expected], text);
      });
    }
    it(`with 250 header lines (${name})`, async () => {
      assert.equal((await httpRequest(server, POLLING, { headers: headers(240) })).status, 200);
    });
    it(`with what should be escaped in its query (${name})`, async (t) => {
      const said = '{"a":"<b>`c`"}';
      const socket = tcp({ port: Number(new URL(server.url).port), host: "127.0.0.1" });
      t.after(() => socket.destroy());
      let answers = "";
      socket.on("data", (chunk) => (answers += chunk));
      for (let request = 1; request <= 3; request++) {
        socket.write(`GET ${POLLING}&data=${said} HTTP/1.1\r\nHost: a\r\n\r\n`);
        await until(`${request} answers`, () => answers.split('{"sid"').length > request);
      }
      const raw = tcp({ port: Number(new URL(server.url).port), host: "127.0.0.1" });
      t.after(() => raw.destroy());
      raw.write(`GET /socket.io/?EIO=4&transport=websocket&data=${said} HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n`);
      let upgraded = "";
      raw.on("data", (chunk) => (upgraded += chunk));
      await until("the first packet", () => upgraded.includes('0{"sid"'));
      assert.match(upgraded, /^HTTP\/1.1 101/);
    });
    it(`by another method than GET (${name})`, async () => {
      for (const method of ["POST", "PUT", "DELETE", "PATCH"]) {
        const { status, text } = await httpRequest(server, POLLING, { method });
        assert.deepEqual([status, JSON.parse(text).code], [400, 2], method);
      }
    });
    it(`of a websocket of draft 8 (${name})`, async (t) => {
      const raw = new RawSocket(t, server, { query: "EIO=4&transport=websocket", version: 8 });
      assert.match(await raw.next(), /^0\{"sid"/);
    });
  }
});

describe("engine.legacy", () => {
  const servers = {
    off: { websocket: false, polling: false },
    websocket: { websocket: true, polling: false },
    all: { websocket: true, polling: true },
  };
  for (const [legacy, welcome] of Object.entries(servers)) {
    it(`${legacy}: who comes in, with EIO=3 and without EIO`, async (t) => {
      const server = await serverFor(t, { engine: { legacy } });
      for (const transport of ["websocket", "polling"]) {
        const socket = openV2(server, { transports: [transport] });
        t.after(() => socket.close());
        if (welcome[transport]) await connected(socket);
        else await assert.rejects(connected(socket));
        socket.close();
      }
      for (const query of ["EIO=3&transport", "transport"]) {
        const polling = await httpRequest(server, `/socket.io/?${query}=polling`);
        if (welcome.polling) assert.match(polling.text, /^\d+:0\{"sid"/);
        else assert.deepEqual([polling.status, JSON.parse(polling.text)], [400, { code: 5, message: "Unsupported protocol version" }]);
        if (welcome.websocket) {
          const raw = new RawSocket(t, server, { query: `${query}=websocket` });
          assert.match(await raw.next(), /^0\{"sid"/);
        } else {
          const { status, text } = await declinedUpgrade(server, `${query}=websocket`);
          assert.deepEqual([status, JSON.parse(text).code], [400, 5]);
        }
      }
      await connect(t, server, { transports: ["polling"] });
    });
  }

  it("JSONP is refused by name, so that nobody waits for it", async (t) => {
    const server = await serverFor(t, { engine: { legacy: "all" } });
    for (const query of ["EIO=3&transport=polling&j=0", "EIO=4&transport=polling&j=0"]) {
      const { status, text } = await httpRequest(server, `/socket.io/?${query}`);
      assert.deepEqual([status, JSON.parse(text)], [400, { code: 3, message: "JSONP polling is not supported" }]);
    }
  });
});

describe("the client for pages", () => {
  const asked = (server, name, headers = {}) => fetch(`${server.url}/socket.io/${name}`, { headers });

  it("is served as Node.js serves it, and works", async (t) => {
    const source = await readFile(join(CLIENT, "socket.io.js"), "utf8");
    const server = await serverFor(t, { engine: { client_file: join(CLIENT, "socket.io.js") } });
    const node = await nodeServer();
    for (const name of ["socket.io.js", "socket.io.js.map"]) {
      const [ours, theirs] = [await asked(server, name), await asked(node, name)];
      assert.equal(ours.status, 200);
      assert.equal(await ours.text(), await theirs.text());
      for (const header of ["content-type", "cache-control"]) assert.equal(ours.headers.get(header), theirs.headers.get(header), header);
      assert.equal(ours.headers.get("content-encoding"), "gzip"); // fetch asks for it, and unpacks it

      const etag = ours.headers.get("etag");
      assert.match(etag, /^"[^"]+"$/);
      for (const known of [etag, `W/${etag}`, `"other", ${etag}`]) assert.equal((await asked(server, name, { "if-none-match": known })).status, 304, known);
      assert.equal((await asked(server, name, { "if-none-match": '"other"' })).status, 200);
    }
    assert.equal(await (await asked(server, "socket.io.min.js?v=4")).text(), source);
    const plain = await httpRequest(server, "/socket.io/socket.io.js");
    assert.deepEqual([plain.headers["content-encoding"], plain.text], [undefined, source]);
    const head = await httpRequest(server, "/socket.io/socket.io.js", { method: "HEAD" });
    assert.deepEqual([head.status, head.headers["content-length"], head.text], [200, String(Buffer.byteLength(source)), ""]);

    const page = { ...globalThis, WebSocket, setTimeout, clearTimeout };
    page.self = page.window = page;
    vm.runInNewContext(plain.text, page);
    const socket = page.io(server.url, { transports: ["websocket"], reconnection: false });
    t.after(() => socket.close());
    await connected(socket);
  });

  it("is not there unless configured, and a sentence says so", async (t) => {
    const server = await serverForThisFile();
    for (const name of ["socket.io.js", "socket.io.min.js", "socket.io.js.map", "socket.io.msgpack.min.js"]) {
      const { status, text } = await httpRequest(server, `/socket.io/${name}`);
      assert.deepEqual([status, /engine\.client_file/.test(text)], [404, true], text);
    }
    const some = await serverFor(t, { engine: { client_file: join(CLIENT, "socket.io.min.js") } });
    for (const name of ["socket.io.esm.min.js", "socket.io.msgpack.min.js"]) assert.equal((await httpRequest(some, `/socket.io/${name}`)).status, 404);
    assert.equal((await httpRequest(some, "/socket.io/socket.io.js", { method: "POST" })).status, 405);
  });

  it("without a map beside it has none", async (t) => {
    const dir = await mkdtemp(join(tmpdir(), "client-"));
    t.after(() => rm(dir, { recursive: true }));
    await writeFile(join(dir, "client.js"), "io = 1;");
    const server = await serverFor(t, { engine: { client_file: join(dir, "client.js") } });
    assert.equal((await httpRequest(server, "/socket.io/socket.io.js")).text, "io = 1;");
    assert.equal((await httpRequest(server, "/socket.io/socket.io.js.map")).status, 404);
  });
});

describe("answers to polls", async () => {
  const both = { Switchboard: await serverForThisFile(), "Node.js": await nodeServer() };
  const long = "a word and another, ".repeat(5_000);

  /** What a poll that accepts these encodings gets, when an event of this text waits. */
  async function answer(server, text, encodings) {
    const session = await rawSession(server);
    await session.post("40");
    assert.match(await (await session.poll()).text(), /^40/);
    await session.post(`42${JSON.stringify(["events", text])}`);
    const path = `${POLLING}&sid=${session.sid}`;
    const [status, headers, body] = await within(DEADLINE, "an answer", new Promise((resolve, reject) => {
      get(server.url + path, { headers: encodings ? { "accept-encoding": encodings } : {}, agent: false }, (response) => {
        const chunks = [];
        response.on("data", (chunk) => chunks.push(chunk)).on("error", reject);
        response.on("end", () => resolve([response.statusCode, response.headers, Buffer.concat(chunks)]));
      }).on("error", reject);
    }));
    assert.equal(status, 200);
    return { encoding: headers["content-encoding"], body, expected: `42${JSON.stringify(["events", text])}` };
  }

  for (const [name, server] of Object.entries(both)) {
    for (const [encodings, encoding, unpack] of [
      ["gzip, deflate, br", "gzip", gunzipSync],
      ["deflate", "deflate", inflateSync],
      ["deflate;q=0.5, gzip", "gzip", gunzipSync],
      ["br", undefined, (body) => body],
      [undefined, undefined, (body) => body],
    ]) {
      it(`of a client that accepts ${encodings} are packed so (${name})`, async () => {
        const { encoding: said, body, expected } = await answer(server, long, encodings);
        assert.equal(said, encoding);
        assert.equal(unpack(body).toString(), expected);
        if (encoding) assert.ok(body.length < expected.length / 10);
      });
    }
    it(`that are short are not (${name})`, async () => {
      const { encoding, body, expected } = await answer(server, "x".repeat(900), "gzip");
      assert.deepEqual([encoding, body.toString()], [undefined, expected]);
    });
  }

  it("are not if http_compression is off", async (t) => {
    const server = await serverFor(t, { engine: { http_compression: false } });
    const { encoding, body, expected } = await answer(server, long, "gzip");
    assert.deepEqual([encoding, body.toString()], [undefined, expected]);
  });
});

it("HTTP/2 without TLS is refused in a way that people and programs can read", async (t) => {
  const [port] = await freePorts(1);
  const server = await serverFor(t, { admin_listen: `127.0.0.1:${port}`, log: { level: "debug" } });
  const socket = tcp({ port: Number(new URL(server.url).port), host: "127.0.0.1" });
  t.after(() => socket.destroy());
  let answer = "";
  socket.on("data", (chunk) => (answer += chunk));
  // As a client begins that knows, or believes to know, what the server speaks.
  socket.write(Buffer.concat([Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), Buffer.from([0, 0, 0, 4, 0, 0, 0, 0, 0])]));
  await within(DEADLINE, "the end", once(socket, "close"));
  assert.match(answer, /^HTTP\/1\.1 505 .*\r\n\r\nHTTP\/2 is not spoken here\. Please use HTTP\/1\.1\.\n$/s);
  await until("a line in the log", () => /HTTP\/2 is refused .*client\.address=127\.0\.0\.1/.test(server.logs));
  const metrics = await (await fetch(`http://127.0.0.1:${port}/metrics`)).text();
  assert.match(metrics, /switchboard_requests_refused_total\{reason="bad_request"\} 1\n/);

  const { status } = await httpRequest(server, POLLING, { headers: { connection: "upgrade, http2-settings", upgrade: "h2c", "http2-settings": "AAMAAABkAAQAoAAAAAIAAAAA" } });
  assert.equal(status, 200, "who only offers it is answered in HTTP/1.1");
});

it("engine.parser = msgpack speaks to clients with that parser", async (t) => {
  const server = await serverFor(t, { engine: { parser: "msgpack" } });
  for (const transports of [["websocket"], ["polling"]]) {
    const socket = await connect(t, server, { transports, parser: msgpack });
    const echo = new Promise((resolve) => socket.once("events", resolve));
    socket.emit("events", { bytes: Buffer.from([1, 2, 3]) });
    assert.deepEqual([...(await within(DEADLINE, "the echo", echo)).bytes], [1, 2, 3]);
    assert.equal((await ack(socket, "whoami")).socket, socket.id);
  }
});

describe("pages of other origins", () => {
  const page = (origin) => ({ headers: { origin } });
  const allowed = async (server, origin) => (await httpRequest(server, POLLING, page(origin))).headers["access-control-allow-origin"] === origin;

  it("of this machine may connect with --dev, at any port, unless others are listed", async (t) => {
    const dev = await serverFor(t, {}, { args: ["--dev"] });
    for (const origin of ["http://localhost:8080", "http://localhost", "http://127.0.0.1:5173", "http://[::1]:3000"]) assert.ok(await allowed(dev, origin), origin);
    for (const origin of ["http://localhost.evil.test:8080", "https://a.test", "null"]) assert.ok(!(await allowed(dev, origin)), origin);

    const listed = await serverFor(t, { engine: { cors_origins: ["https://a.test"] } }, { args: ["--dev"] });
    assert.deepEqual([await allowed(listed, "https://a.test"), await allowed(listed, "http://localhost:8080")], [true, false]);
    assert.ok(!(await allowed(await serverForThisFile(), "http://localhost:8080")), "without --dev");
  });

  it("that may not are counted and logged, a line for each", async (t) => {
    const [port] = await freePorts(1);
    const server = await serverFor(t, { admin_listen: `127.0.0.1:${port}`, log: { level: "debug" } });
    await httpRequest(server, POLLING, page("https://a.test"));
    await httpRequest(server, POLLING, { ...page("https://b.test"), method: "OPTIONS" });
    await httpRequest(server, POLLING, page(server.url)); // a page of the server itself
    await httpRequest(server, POLLING);
    await new RawSocket(t, server).opened();
    const metrics = await (await fetch(`http://127.0.0.1:${port}/metrics`)).text();
    assert.match(metrics, /switchboard_requests_refused_total\{reason="origin"\} 2\n/);
    await until("two lines in the log", () => server.logs.split("polling refused").length === 3);
    assert.match(server.logs, /a\.test/);
  });
});

it("the admin port answers while as many connections as it takes say nothing", async (t) => {
  const [port] = await freePorts(1);
  const server = await serverFor(t, { admin_listen: `127.0.0.1:${port}` });
  const metrics = () => within(DEADLINE, "the metrics", new Promise((resolve, reject) => {
    get(`http://127.0.0.1:${port}/metrics`, { agent: false }, (response) => resolve(response.resume().statusCode)).on("error", reject);
  }));
  const silent = await Promise.all(Array.from({ length: 300 }, async () => {
    const socket = tcp({ port, host: "127.0.0.1" });
    t.after(() => socket.destroy());
    socket.on("error", () => {});
    await once(socket, "connect");
    return socket;
  }));
  for (let request = 0; request < 5; request++) assert.equal(await metrics(), 200);
  assert.ok(silent.some(({ readyState }) => readyState === "open"), "no more are closed than need be");
  for (const socket of silent) socket.write("GET /metrics HTTP/1.1\r\n"); // half a head
  assert.equal(await metrics(), 200);
  assert.equal(server.status, undefined);
});

describe("a client that the server has disconnected", () => {
  it("and that stays loses its connection", async (t) => {
    const [port] = await freePorts(1);
    const secret = "a secret of thirty-two bytes, or more";
    const server = await serverFor(t, { admin_listen: `127.0.0.1:${port}`, auth: { hs256_secret: secret } });
    const { token } = await import("./support/tokens.mjs");
    const raw = await RawSocket.connected(t, server, { auth: { token: await token("alice", {}, { secret }) } });
    const answer = await fetch(`http://127.0.0.1:${port}/api/v1/users/alice/disconnect`, { method: "POST", headers: { "content-type": "application/json" }, body: "{}" });
    assert.equal(answer.status, 200);
    assert.equal(await raw.next(), "41");
    await raw.whenClosed(15_000);
  });
});

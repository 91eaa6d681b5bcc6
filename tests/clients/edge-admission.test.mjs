// Who may come in at all, decided before Socket.IO hears of anybody: how many, how fast, how many
// from one address, how slowly they may ask, and which pages may see the answer.

import assert from "node:assert/strict";
import { once } from "node:events";
import { connect as tcp } from "node:net";
import { describe, it } from "node:test";

import { ack, connect, connected, open } from "./support/clients.mjs";
import { RawSocket, declinedUpgrade, httpRequest, rawSession } from "./support/raw.mjs";
import { reconfigure, serverFor, serverForThisFile } from "./support/server.mjs";
import { DEADLINE, until, within } from "./support/waiting.mjs";

const HANDSHAKE = "/socket.io/?EIO=4&transport=polling";
const UPGRADE = "EIO=4&transport=websocket";

/** Both handshakes are answered 503, in JSON, with the time after which to come back. */
async function isFull(server, message, headers = {}) {
  const answers = [await httpRequest(server, HANDSHAKE, { headers }), await declinedUpgrade(server, UPGRADE, headers)];
  for (const { status, headers, text } of answers) {
    assert.equal(status, 503);
    assert.deepEqual(JSON.parse(text), { code: 4, message });
    assert.match(headers["retry-after"], /^[1-9]\d*$/);
  }
}

describe("max_connections", () => {
  const leaving = {
    "closes its websocket": (t, server) => connect(t, server).then((socket) => () => socket.close()),
    "stops polling": (t, server) => connect(t, server, { transports: ["polling"] }).then((socket) => () => socket.close()),
    "loses its websocket": (t, server) => RawSocket.connected(t, server).then((raw) => () => raw.ws.terminate()),
    "closes a session that it has not joined": (_, server) => rawSession(server).then((session) => () => session.post("1")),
  };
  for (const [name, enter] of Object.entries(leaving)) {
    it(`answers 503 on both transports, until somebody ${name}`, async (t) => {
      const server = await serverFor(t, { limits: { max_connections: 2 } });
      const staying = await connect(t, server);
      const leave = await enter(t, server);
      await isFull(server, "Server is full");
      await assert.rejects(connected(open(server)));
      await assert.rejects(connected(open(server, { transports: ["polling"] })));
      leave();
      const newcomer = await until("there is room again", () => connect(t, server, { transports: ["polling"] }).catch(() => false));
      for (const socket of [staying, newcomer]) assert.equal((await ack(socket, "whoami")).socket, socket.id);
      await isFull(server, "Server is full");
    });
  }

  it("can be raised and lowered while running, and sends nobody away", async (t) => {
    const limits = (max_connections) => ({ limits: { max_connections } });
    const server = await serverFor(t, limits(1));
    const sockets = [await connect(t, server)];
    await isFull(server, "Server is full");
    await reconfigure(server, limits(2));
    sockets.push(await connect(t, server));
    await reconfigure(server, limits(1));
    await isFull(server, "Server is full");
    for (const socket of sockets) assert.equal((await ack(socket, "whoami")).socket, socket.id);
  });
});

describe("connections_per_second", () => {
  for (const [name, handshake] of Object.entries({ polling: (server) => httpRequest(server, HANDSHAKE), websocket: (server, t) => new Promise((told) => {
    const raw = new RawSocket(t, server);
    raw.ws.on("open", () => told({ status: 101 }));
    raw.ws.on("unexpected-response", (_, { statusCode }) => told({ status: statusCode }));
  }) })) {
    it(`lets a rush in at the rate, and turns the rest away with 503 (${name})`, async (t) => {
      const RATE = 5;
      const server = await serverFor(t, { limits: { connections_per_second: RATE } });
      const began = performance.now();
      const statuses = (await Promise.all(Array.from({ length: 40 }, () => handshake(server, t)))).map(({ status }) => status);
      const seconds = (performance.now() - began) / 1_000;
      const refused = statuses.filter((status) => status === 503).length;
      const admitted = statuses.filter((status) => status === 200 || status === 101).length;
      assert.equal(admitted + refused, 40, `${statuses}`);
      assert.ok(admitted >= RATE, `${admitted} were let in`);
      assert.ok(admitted <= RATE * (1 + seconds), `${admitted} were let in within ${seconds} s`);
      const newcomer = await until("it is calm again", () => connect(t, server).catch(() => false));
      assert.equal((await ack(newcomer, "whoami")).socket, newcomer.id);
    });
  }

  it("does not concern who is in", async (t) => {
    const server = await serverFor(t, { limits: { connections_per_second: 1 } });
    const socket = await connect(t, server, { transports: ["polling"] });
    for (let request = 0; request < 20; request++) assert.equal((await ack(socket, "whoami")).socket, socket.id);
  });
});

describe("connections_per_address", () => {
  const limits = { connections_per_address: 2 };
  const behindProxy = (address) => ({ "x-forwarded-for": address });
  const from = (t, server, address, transports = ["websocket"]) => connect(t, server, { transports, extraHeaders: behindProxy(address) });
  const CROWD = "Too many connections from this address";

  it("counts each client of a trusted proxy apart, on both transports", async (t) => {
    const server = await serverFor(t, { limits, edge: { trusted_proxies: ["127.0.0.1/32"] } });
    const [first] = [await from(t, server, "203.0.113.7"), await from(t, server, "203.0.113.7", ["polling"])];
    await isFull(server, CROWD, behindProxy("203.0.113.7"));
    for (const address of ["203.0.113.8", "2001:db8::7"]) await from(t, server, address);
    await isFull(server, CROWD, behindProxy("203.0.113.7"));
    first.close();
    await until("the address has room again", () => from(t, server, "203.0.113.7").catch(() => false));
  });

  it("counts a network of IPv6 as one client", async (t) => {
    const server = await serverFor(t, { limits, edge: { trusted_proxies: ["127.0.0.1"] } });
    for (const host of ["1", "2"]) await from(t, server, `2001:db8:1:1::${host}`);
    await isFull(server, CROWD, behindProxy("2001:db8:1:1:ffff::3"));
    await from(t, server, "2001:db8:1:2::1");
  });

  it("does not believe what the client itself has written before the proxy", async (t) => {
    const server = await serverFor(t, { limits, edge: { trusted_proxies: ["127.0.0.1/32"] } });
    for (const lie of ["198.51.100.1", "198.51.100.2"]) await from(t, server, `${lie}, 203.0.113.7`);
    await isFull(server, CROWD, behindProxy("198.51.100.3, 203.0.113.7"));
  });

  for (const [name, edge] of Object.entries({ "nobody is trusted": {}, "somebody else is trusted": { trusted_proxies: ["10.0.0.0/8"] } })) {
    it(`ignores the header when ${name}`, async (t) => {
      const server = await serverFor(t, { limits, edge });
      for (const address of ["203.0.113.7", "203.0.113.8"]) await from(t, server, address);
      await isFull(server, CROWD, behindProxy("203.0.113.9"));
    });
  }
});

describe("who is slow to ask", async () => {
  // The default is 10 s: a connection that ends within the deadline of 5 s has met this one.
  const server = await serverForThisFile({ engine: { ping_interval: "500ms" }, edge: { handshake_timeout: "300ms" } });
  const HEAD = `GET ${HANDSHAKE} HTTP/1.1\r\nHost: 127.0.0.1\r\n`;

  async function connection(t) {
    const socket = tcp({ port: server.port, host: "127.0.0.1", noDelay: true });
    t.after(() => socket.destroy());
    let said = "";
    socket.on("data", (chunk) => (said += chunk));
    socket.on("error", () => {}); // a reset is an end as good as any; "close" follows
    const closed = new Promise((done) => socket.on("close", done));
    await once(socket, "connect");
    return { socket, said: () => said, closed: () => within(DEADLINE, "the server closes the connection", closed) };
  }

  for (const [name, bytes] of Object.entries({ "nothing at all": "", "the first letter": "G", "half a head": HEAD, "all but the last byte": `${HEAD}\r` })) {
    it(`and sends ${name} is cut off`, async (t) => {
      const { socket, said, closed } = await connection(t);
      socket.write(bytes);
      await closed();
      assert.doesNotMatch(said(), / 200 /);
    });
  }

  it("and sends a byte now and then is cut off", async (t) => {
    const { socket, said, closed } = await connection(t);
    let at = 0;
    const drip = setInterval(() => socket.write(HEAD[at++ % HEAD.length]), 50);
    t.after(() => clearInterval(drip));
    await closed();
    assert.doesNotMatch(said(), / 200 /);
  });

  it("does not keep the others out", async (t) => {
    const lazy = await Promise.all(Array.from({ length: 50 }, () => connection(t)));
    for (const { socket } of lazy) socket.write(HEAD);
    const socket = await connect(t, server);
    assert.equal((await ack(socket, "whoami")).socket, socket.id);
    await Promise.all(lazy.map(({ closed }) => closed()));
  });

  for (const transports of [["polling"], ["websocket"]]) {
    it(`is not mistaken for who has asked and waits (${transports})`, async (t) => {
      const socket = await connect(t, server, { transports });
      // Two heartbeats: silence of more than twice the time for a handshake.
      for (let beat = 0; beat < 2; beat++) await within(DEADLINE, "a ping", new Promise((beaten) => socket.io.once("ping", beaten)));
      assert.equal((await ack(socket, "whoami")).socket, socket.id);
    });
  }

  for (const [name, head] of Object.entries({
    "one header of 64 kB": `${HEAD}X-Large: ${"x".repeat(64_000)}\r\n\r\n`,
    "a thousand headers": `${HEAD}${Array.from({ length: 1_000 }, (_, at) => `X-${at}: ${"x".repeat(50)}\r\n`).join("")}\r\n`,
    "an address of 64 kB": `GET ${HANDSHAKE}&x=${"x".repeat(64_000)} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n`,
  })) {
    it(`and has far too much to say in its head is refused: ${name}`, async (t) => {
      const { socket, said, closed } = await connection(t);
      socket.write(head);
      await closed();
      // The answer may be lost when the rest of the head is still on its way; there is no good one.
      assert.match(said(), /^(HTTP\/1\.1 (400|414|431) |$)/);
    });
  }
});

describe("a page of another origin", () => {
  const asking = (origin, options = {}) => ({ ...options, headers: { origin, ...options.headers } });
  const preflight = (origin) => asking(origin, { method: "OPTIONS", headers: { "access-control-request-method": "POST", "access-control-request-headers": "content-type,x-own" } });
  const said = ({ headers }) => Object.fromEntries(Object.entries(headers).filter(([name]) => name.startsWith("access-control-")));
  const NO_SESSION = `${HANDSHAKE}&sid=unknown`;

  it("is told nothing by default", async (t) => {
    const server = await serverFor(t);
    for (const request of [asking("https://a.test"), preflight("https://a.test")]) assert.deepEqual(said(await httpRequest(server, HANDSHAKE, request)), {});
    assert.equal((await httpRequest(server, HANDSHAKE, preflight("https://a.test"))).status, 204);
  });

  it("may poll with credentials if it is listed, and no other may", async (t) => {
    const server = await serverFor(t, { engine: { cors_origins: ["https://a.test", "https://b.test:8443"] } });
    for (const origin of ["https://a.test", "https://b.test:8443"]) {
      const expected = { "access-control-allow-origin": origin, "access-control-allow-credentials": "true" };
      const answer = await httpRequest(server, HANDSHAKE, asking(origin));
      assert.equal(answer.status, 200);
      assert.deepEqual(said(answer), expected);
      assert.match(answer.headers.vary, /origin/i); // a cache must not give it to others
      // What went wrong it may see as well, else it can't tell an error from a network that is down.
      const refused = await httpRequest(server, NO_SESSION, asking(origin));
      assert.equal(refused.status, 400);
      assert.deepEqual(said(refused), expected);

      const { status, headers } = await httpRequest(server, HANDSHAKE, preflight(origin));
      assert.equal(status, 204);
      assert.equal(headers["access-control-allow-origin"], origin);
      assert.equal(headers["access-control-allow-credentials"], "true");
      assert.match(headers["access-control-allow-methods"], /GET.*POST/);
      assert.equal(headers["access-control-allow-headers"], "content-type,x-own");
    }
    for (const origin of ["https://c.test", "http://a.test", "https://a.test.evil.test", "https://b.test", "null"]) {
      for (const request of [asking(origin), preflight(origin)]) assert.deepEqual(said(await httpRequest(server, HANDSHAKE, request)), {}, origin);
    }
  });

  it("may poll without credentials if everybody may", async (t) => {
    const server = await serverFor(t, { engine: { cors_origins: ["*"] } });
    assert.deepEqual(said(await httpRequest(server, HANDSHAKE, asking("https://any.test"))), { "access-control-allow-origin": "*" });
    const { status, headers } = await httpRequest(server, HANDSHAKE, preflight("https://any.test"));
    assert.equal(status, 204);
    assert.equal(headers["access-control-allow-origin"], "*");
    assert.equal(headers["access-control-allow-credentials"], undefined);
  });
});

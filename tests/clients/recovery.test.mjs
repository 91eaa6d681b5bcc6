// Connection state recovery, as the unmodified client sees it: who comes back is the same socket, and has
// missed nothing; who cannot be told so is a new one, and no error.

import assert from "node:assert/strict";
import { describe, it } from "node:test";

import { io } from "socket.io-client";
import * as msgpackParser from "socket.io-msgpack-parser";

import { TRANSPORTS, ack, connected, disconnected } from "./support/clients.mjs";
import { cutOff, network } from "./support/proxies.mjs";
import { RawSocket } from "./support/raw.mjs";
import { redisFor } from "./support/redis.mjs";
import { exampleForThisFile, freePorts, serverFor, serverForThisFile } from "./support/server.mjs";
import { SECRET, seconds, token } from "./support/tokens.mjs";
import { until } from "./support/waiting.mjs";

const config = { auth: { hs256_secret: SECRET }, engine: { ping_interval: "30s", ping_timeout: "30s" }, log: { level: "trace" } };
const admins = new Map();

/** A server that recovers, with its operators' port. */
async function recovering(start, { recovery, ...more } = {}) {
  const [port] = await freePorts(1);
  const server = await start({ ...config, ...more, engine: { ...config.engine, ...more.engine }, admin_listen: `127.0.0.1:${port}`, recovery: { enabled: true, ...recovery } });
  admins.set(server, `http://127.0.0.1:${port}`);
  return server;
}

const json = await recovering(serverForThisFile);
const msgpack = await recovering(serverForThisFile, { engine: { parser: "msgpack" } });
const custom = await exampleForThisFile("recovery_server");
// The log and the sessions are in Redis.
const redis = await redisFor();
const streams = await recovering(serverForThisFile, { redis: { url: redis.url, protocol: "streams" } });

async function post(server, path, body) {
  const answer = await fetch(`${admins.get(server)}/api/v1${path}`, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) });
  assert.ok(answer.ok, `${path}: ${answer.status} ${await answer.clone().text()}`);
  return answer.json();
}

const emit = (server, args, more = {}) => post(server, "/emit", { all: true, event: "news", args, ...more });

/** A client that comes back when it is told to, what it hears, and the network before it. */
async function client(t, server, { namespace = "", transports = ["websocket"], auth = {}, parser } = {}) {
  const way = await network(t, server.port);
  const socket = io(way.url + namespace, { forceNew: true, reconnection: false, transports, auth, ...(parser && { parser }) });
  t.after(() => socket.close());
  const heard = [];
  // The last argument is the offset of what counts, and of what would be mistaken for one.
  socket.onAny((event, ...args) => heard.push([event, ...args]));
  await connected(socket);
  const numbers = () => heard.filter(([event]) => event === "news").map(([, number]) => number);
  return { socket, way, heard, numbers, id: socket.id };
}

/** Loses the connection, and does `meanwhile` before the client comes back. */
async function away({ socket, way }, meanwhile = () => {}, how = "reset") {
  if (how === "by the client") {
    const gone = disconnected(socket);
    socket.io.engine.close();
    await gone;
  } else await cutOff(way, socket, how);
  await meanwhile();
  await connected(socket.connect());
}

const isNew = (made) => {
  assert.equal(made.socket.recovered, false);
  assert.notEqual(made.socket.id, made.id);
};
const isTheSame = (made) => {
  assert.equal(made.socket.recovered, true);
  assert.equal(made.socket.id, made.id);
};
const hears = (made, ...numbers) => until(() => `${JSON.stringify(numbers)} and not ${JSON.stringify(made.numbers())}`, () => made.numbers().length >= numbers.length).then(() => assert.deepEqual(made.numbers(), numbers));

for (const [name, server, parser] of [["json", json, undefined], ["msgpack", msgpack, msgpackParser], ["over streams", streams, undefined]]) {
  describe(`a client that comes back (${name})`, () => {
    for (const [way, transports] of Object.entries(TRANSPORTS)) {
      it(`is the same socket, in its rooms, and hears what it has missed: ${way}`, async (t) => {
        const made = await client(t, server, { transports, parser, auth: { token: await token("alice") } });
        await ack(made.socket, "join", "public:room");
        const before = await ack(made.socket, "whoami");
        await emit(server, [0], { all: false, rooms: ["public:room"] });
        await hears(made, 0);
        await away(made, async () => {
          await emit(server, [1], { all: false, rooms: ["public:room"] });
          await emit(server, [-1], { all: false, rooms: ["public:another"] });
          await emit(server, [2], { all: false, users: ["alice"] });
          await emit(server, [3]);
          await emit(server, [-2], { except_rooms: ["public:room"] });
        });
        isTheSame(made);
        await emit(server, [4], { all: false, sockets: [made.id] });
        await hears(made, 0, 1, 2, 3, 4);
        const after = await ack(made.socket, "whoami");
        assert.deepEqual({ ...after, rooms: after.rooms.sort() }, { ...before, rooms: before.rooms.sort() });
      });
    }

    it("hears what it has missed with its bytes", async (t) => {
      const [made, other] = [await client(t, server, { parser }), await client(t, server, { parser })];
      for (const { socket } of [made, other]) await ack(socket, "join", "public:bytes");
      const publish = (number) => ack(other.socket, "publish", { room: "public:bytes", event: "bytes", data: [number, Buffer.from([number, 2]), { deep: Buffer.from([3]) }] });
      await publish(0);
      await until("the first is heard", () => made.heard.length === 1);
      await away(made, async () => {
        await publish(1);
        await publish(2);
      });
      isTheSame(made);
      await publish(3);
      await until("all are heard", () => made.heard.length === 4);
      assert.deepEqual(made.heard.map(([, { data }]) => data), [0, 1, 2, 3].map((number) => [number, Buffer.from([number, 2]), { deep: Buffer.from([3]) }]));
    });

    it("need not have heard anything before", async (t) => {
      const made = await client(t, server, { parser });
      await away(made, () => emit(server, [1]));
      isTheSame(made);
      await hears(made, 1);
    });

    it("is not led astray by a text at the end of what does not count", async (t) => {
      const made = await client(t, server, { parser });
      made.socket.on("asked", (...args) => args.at(-1)("answer"));
      await emit(server, [0, "a text"]);
      await emit(server, [1, "a text"], { volatile: true });
      await emit(server, [2, "a text"], { all: false, sockets: [made.id], event: "asked", ack: { timeout_ms: 5_000 } });
      await until("it has come", () => made.heard.some(([event]) => event === "asked"));
      await away(made, () => emit(server, [3]));
      isTheSame(made);
      await until("what it has missed", () => made.numbers().includes(3));
      // What is volatile is dropped for who is away, and may be heard once by who is there.
      assert.deepEqual(made.numbers().filter((number) => number !== 1), [0, 3]);
    });

    it("takes over from its old connection, which the server still has", async (t) => {
      const made = await client(t, server, { parser });
      await emit(server, [0]);
      await hears(made, 0);
      await away(made, () => emit(server, [1]), "half open");
      isTheSame(made);
      await emit(server, [2]);
      await hears(made, 0, 1, 2);
      const { sockets } = await ack(made.socket, "whoami").then(() => fetch(`${admins.get(server)}/api/v1/rooms/${made.id}`)).then((answer) => answer.json());
      assert.equal(sockets.length, 1);
    });

    it("comes back again and again", async (t) => {
      const made = await client(t, server, { parser });
      for (let number = 0; number < 5; number++) {
        await away(made, () => emit(server, [number]), number % 2 ? "reset" : "by the client");
        isTheSame(made);
      }
      await hears(made, 0, 1, 2, 3, 4);
    });
  });
}

describe("in a namespace of a program", () => {
  for (const namespace of ["", "/custom"]) {
    it(`the socket has its data, and the server knows that it has recovered (${namespace || "/"})`, async (t) => {
      const made = await client(t, custom, { namespace });
      const other = await client(t, custom, { namespace });
      await ack(made.socket, "join", "a room");
      await ack(made.socket, "remember", { deep: [1, null, "two"] });
      assert.equal((await ack(made.socket, "whoami")).recovered, false);
      await away(made, () => void other.socket.emit("say", "missed", Buffer.from([7])));
      isTheSame(made);
      const { recovered, rooms, socket } = await ack(made.socket, "whoami");
      assert.deepEqual({ recovered, socket, isIn: rooms.includes("a room") }, { recovered: true, socket: made.id, isIn: true });
      assert.deepEqual(await ack(made.socket, "recall"), { deep: [1, null, "two"] });
      await until("what it has missed", () => made.heard.length === 1);
      assert.deepEqual(made.heard[0].slice(0, 3), ["said", "missed", Buffer.from([7])]);
    });

    it(`who is sent away does not recover (${namespace || "/"})`, async (t) => {
      const made = await client(t, custom, { namespace });
      const gone = disconnected(made.socket);
      made.socket.emit("end");
      assert.equal(await gone, "io server disconnect");
      await connected(made.socket.connect());
      isNew(made);
    });
  }
});

for (const [name, server] of [["in memory", json], ["over streams", streams]]) {
  describe(`a new session, and no error, gets (${name})`, () => {
    it("who has left deliberately", async (t) => {
      const made = await client(t, server);
      await emit(server, [0]);
      await hears(made, 0);
      made.socket.disconnect();
      await connected(made.socket.connect());
      isNew(made);
    });

    it("whose user was disconnected by the API", async (t) => {
      const made = await client(t, server, { auth: { token: await token("dave") } });
      const gone = disconnected(made.socket);
      await post(server, "/users/dave/disconnect", {});
      assert.equal(await gone, "io server disconnect");
      await connected(made.socket.connect());
      isNew(made);
    });

    it("whose user was disconnected while the client was away", async (t) => {
      const made = await client(t, server, { auth: { token: await token("erin") } });
      await away(made, () => post(server, "/users/erin/disconnect", {}));
      isNew(made);
    });

    for (const [who, auth] of [["another user", async () => ({ token: await token("mallory") })], ["nobody", async () => ({})]]) {
      it(`who comes back as ${who}, and hears nothing of the first`, async (t) => {
        const made = await client(t, server, { auth: { token: await token("frank") } });
        await emit(server, [0], { all: false, users: ["frank"] });
        await hears(made, 0);
        made.socket.auth = await auth();
        await away(made, () => emit(server, [1], { all: false, users: ["frank"] }));
        isNew(made);
        assert.ok(!(await ack(made.socket, "whoami")).rooms.includes("user:frank"));
        assert.deepEqual(made.numbers(), [0]);
      });
    }

    it("who brings nonsense", async (t) => {
      const text = "x".repeat(10_000);
      for (const pid of ["nonsense", "", 7, null, [], {}, text]) {
        for (const offset of ["nonsense", "", 7, null, [], {}, text, "0-0", "18446744073709551615-18446744073709551615", undefined]) {
          const raw = await RawSocket.connected(t, server, { auth: { pid, offset } });
          const { sid, pid: own } = JSON.parse(raw.frames.find((frame) => frame.startsWith("40{")).slice(2));
          assert.ok(sid && own && own !== pid, `${JSON.stringify(pid)} ${JSON.stringify(offset)}`);
          raw.ws.terminate();
        }
      }
    });

    it("who names no place, or a wrong one, in a session that there is", async (t) => {
      const later = (offset) => offset.replace(/\d+(?=-)|(?<=\.)\d+/, (number) => String(Number(number) + 1_000_000));
      for (const wrong of [() => "nonsense", () => 7, () => ["a"], later]) {
        const made = await client(t, server);
        await emit(server, [0]);
        await hears(made, 0);
        made.socket._lastOffset = wrong(made.socket._lastOffset);
        await away(made, () => emit(server, [1]));
        isNew(made);
        assert.deepEqual(made.numbers(), [0], "never a part of what was missed");
      }
    });

    it("who comes too late", async (t) => {
      const hasty = await recovering((config) => serverFor(t, config), { recovery: { max_disconnection: "1s" }, ...(server === streams && { redis: { url: redis.url, protocol: "streams", stream_name: "hasty" } }) });
      const made = await client(t, hasty);
      await emit(hasty, [0]);
      await hears(made, 0);
      const gone = disconnected(made.socket);
      made.way.cut();
      await gone;
      const since = performance.now();
      await until("the time is over", () => performance.now() - since > 2_500);
      await connected(made.socket.connect());
      isNew(made);
    });
  });
}

describe("a new session, and no error, gets", () => {
  it("who has missed more than is kept, in events or in bytes, and none of it", async (t) => {
    for (const [recovery, size] of [[{ max_packets: 10 }, 1], [{ max_bytes: "64KiB" }, 30_000]]) {
      const small = await recovering((config) => serverFor(t, config), { recovery });
      const made = await client(t, small);
      await emit(small, [0]);
      await hears(made, 0);
      await away(made, async () => {
        for (let number = 1; number <= 20; number++) await emit(small, [number, "x".repeat(size)]);
      });
      isNew(made);
      await emit(small, [21]);
      await hears(made, 0, 21);
    }
  });
});

describe("a secret of recovery", () => {
  it("is taken once: two who bring it at the same time are not both the socket", async (t) => {
    const first = await RawSocket.connected(t, json);
    const { pid, sid } = JSON.parse(first.frames.find((frame) => frame.startsWith("40{")).slice(2));
    await emit(json, [0]);
    const offset = JSON.parse((await first.next((frame) => frame.startsWith("42"))).slice(2)).at(-1);
    first.ws.terminate();
    // Who is overtaken may be cut before it hears that it is connected.
    const tried = await Promise.allSettled([1, 2, 3, 4].map(() => RawSocket.connected(t, json, { auth: { pid, offset } })));
    const again = tried.filter(({ status }) => status === "fulfilled").map(({ value }) => value);
    await until("one of them is it, and one only", async () => {
      const { sockets } = await fetch(`${admins.get(json)}/api/v1/rooms/${sid}`).then((answer) => answer.json());
      const alive = again.filter((raw) => !raw.closed && raw.frames.some((frame) => frame.startsWith("40{") && frame.includes(sid)));
      return sockets.length === 1 && alive.length === 1;
    });
  });

  it("belongs to one who may have it: an expired token is refused, though the secret be right", async (t) => {
    const made = await client(t, json, { auth: { token: await token("gina") } });
    const gone = disconnected(made.socket);
    made.way.cut();
    await gone;
    made.socket.auth = { token: await token("gina", { exp: seconds(-60) }) };
    await assert.rejects(connected(made.socket.connect()), /^Error: unauthorized/);
  });

  it("is not in the log, nor is an offset", async (t) => {
    const made = await client(t, json);
    await emit(json, [0]);
    await hears(made, 0);
    const { _pid: pid, _lastOffset: offset } = made.socket;
    assert.ok(pid && offset);
    await away(made);
    isTheSame(made);
    made.socket._lastOffset = "nonsense-of-an-offset";
    await away(made);
    isNew(made);
    // The lines that tell of these sessions are there, so whatever they would say too much is there as well.
    const told = (id, what) => json.logs.split("\n").some((line) => line.includes(id) && line.includes(what));
    await until("the log tells of both", () => told(made.id, "recovered=true") && told(made.socket.id, "session not recovered"));
    for (const secret of [pid, offset, "nonsense-of-an-offset"]) assert.ok(!json.logs.includes(secret), "a secret in the log");
  });
});

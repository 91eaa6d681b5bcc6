// The history of a room: whoever joins gets the last events, then the new ones, without a gap and none
// twice, while others speak on the same node and on another one.

import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, it } from "node:test";

import { TRANSPORTS, ack, connect, connectV2, connectWith } from "./support/clients.mjs";
import { postgresFor } from "./support/postgres.mjs";
import { redisFor } from "./support/redis.mjs";
import { freePorts, serverForThisFile } from "./support/server.mjs";
import { SECRET, token } from "./support/tokens.mjs";
import { DEADLINE, until } from "./support/waiting.mjs";

const ON_JOIN = 20;
const ROOMS = [{ rooms: "public:*", count: 500, on_join: ON_JOIN }];

const dir = await mkdtemp(join(tmpdir(), "switchboard-history-"));
after(() => rm(dir, { recursive: true, force: true }));

async function node(config) {
  const [admin] = await freePorts(1);
  const server = await serverForThisFile({
    admin_listen: `127.0.0.1:${admin}`,
    auth: { hs256_secret: SECRET },
    rooms: { history: ROOMS },
    ...config,
  });
  const ask = async (path, body) => {
    const post = { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) };
    const answer = await fetch(`http://127.0.0.1:${admin}${path}`, { signal: AbortSignal.timeout(DEADLINE), ...(body && post) });
    return { status: answer.status, body: path === "/metrics" ? await answer.text() : await answer.json() };
  };
  return { server, ask };
}

/** Sends numbers to a room until it is told to end, and then says how many there were. */
function speaker({ ask }, room, name) {
  let ended = false;
  const speaking = (async () => {
    let n = 0;
    while (!ended) {
      const requests = Array.from({ length: 20 }, () => ({ method: "POST", path: "/emit", body: { rooms: [room], event: "said", args: [name, n++] } }));
      const { status, body } = await ask("/api/v1/batch", { requests });
      assert.equal(status, 200);
      for (const answer of body.responses) assert.equal(answer.status, 202, JSON.stringify(answer));
    }
    return n;
  })();
  return {
    end() {
      ended = true;
      return speaking;
    },
  };
}

/** What a client gets of each speaker must be one stretch, in order. */
function isStretch(got, names) {
  for (const name of names) {
    const numbers = got.filter(([of]) => of === name).map(([, n]) => n);
    assert.deepEqual(numbers, numbers.map((_, i) => numbers[0] + i), `${name}: a gap, or something twice`);
  }
}

let rooms = 0;

function describeJoining(name, nodes) {
  describe(name, () => {
    for (const [kind, transports] of [...Object.entries(TRANSPORTS), ["version 2", null]]) {
      it(`whoever joins while others speak misses nothing and gets nothing twice: ${kind}`, async (t) => {
        const room = `public:${rooms++}`;
        const speakers = nodes.map((node, n) => speaker(node, room, `node ${n}`));
        const names = nodes.map((_, n) => `node ${n}`);
        const listeners = [];
        const isLong = async () => (await nodes[0].ask(`/api/v1/rooms/${room}/history?limit=${ON_JOIN}`)).body.events.length === ON_JOIN;
        await until("the history is longer than what a join brings", isLong);
        for (let round = 0; round < 10; round++) {
          for (const { server } of nodes) {
            const socket = transports ? await connect(t, server, { transports }) : await connectV2(t, server);
            const got = [];
            socket.on("said", (...args) => got.push(args));
            await ack(socket, "join", room);
            const atOnce = got.length;
            // Of another node's events the last ones may still be on their way, and come after the answer.
            assert.ok(atOnce >= (nodes.length === 1 ? ON_JOIN : 1), `the history comes before the answer, and ${atOnce} events have come`);
            listeners.push(got);
          }
        }
        const counts = await Promise.all(speakers.map((speaker) => speaker.end()));
        for (const got of listeners) {
          const has = (n) => got.some(([name, number]) => name === `node ${n}` && number === counts[n] - 1);
          await until("the last ones have come", () => nodes.every((_, n) => has(n)));
          isStretch(got, names);
          assert.ok(got.length >= ON_JOIN);
        }
        // All nodes say the same.
        const all = await Promise.all(nodes.map(({ ask }) => ask(`/api/v1/rooms/${room}/history?limit=500`)));
        const total = counts.reduce((sum, count) => sum + count);
        for (const { status, body } of all) {
          assert.equal(status, 200);
          assert.deepEqual(body, all[0].body);
          assert.equal(body.events.length, Math.min(500, total));
          isStretch(body.events.toReversed().map(({ args }) => args), names);
        }
        for (const { server, ask } of nodes) {
          const { body } = await ask("/metrics");
          assert.match(body, /switchboard_history_dropped_total 0\n/);
          assert.doesNotMatch(server.logs, /slow consumer/);
        }
      });
    }

    it("a room of the token brings its history after the connect", async (t) => {
      const room = `public:${rooms++}`;
      for (const [n, { ask }] of nodes.entries()) await ask("/api/v1/emit", { rooms: [room], event: "said", args: [n] });
      for (const { server } of nodes) {
        const got = [];
        const bearer = await token("carol", { rooms: [room] });
        await connectWith(t, server, bearer, { onOpen: (socket) => socket.on("said", (n) => got.push(n)) });
        await until("it has come", () => got.length === nodes.length);
        assert.deepEqual(got, [...nodes.keys()]);
      }
    });

    it("what a client publishes names its user, and bytes come back as bytes", async (t) => {
      const room = `public:${rooms++}`;
      const alice = await connectWith(t, nodes[0].server, await token("alice"));
      await ack(alice, "join", room);
      await ack(alice, "publish", { room, data: { text: "hi", bytes: Buffer.from([0, 255]) } });
      const last = nodes.at(-1);
      const { body } = await last.ask(`/api/v1/rooms/${room}/history`);
      assert.equal(body.events[0].from, "alice");
      assert.deepEqual(body.events[0].args, [{ room, from: "alice", data: { text: "hi", bytes: { type: "Buffer", data: [0, 255] } } }]);
      const bob = await connect(t, last.server);
      const got = [];
      bob.on("message", (message) => got.push(message));
      await ack(bob, "join", room);
      assert.deepEqual(got, [{ room, from: "alice", data: { text: "hi", bytes: Buffer.from([0, 255]) } }]);
    });
  });
}

describeJoining("on one node", [await node({ store: { url: `sqlite:${join(dir, "one.db")}` } })]);

const [redis, postgres] = await Promise.all([redisFor(), postgresFor()]);
for (const [name, protocol, recovery] of [
  ["classic", "classic", false],
  ["sharded", "sharded", false],
  ["streams, with recovery", "streams", true],
]) {
  const config = { redis: { url: redis.url, protocol, key_prefix: `history-${protocol}`, stream_name: `history-${protocol}` }, recovery: { enabled: recovery } };
  await postgres.sql(`CREATE DATABASE history_${protocol}`);
  const store = { url: postgres.urlOf("postgres", `history_${protocol}`) };
  const both = [await node({ ...config, store }), await node({ ...config, store })];
  describeJoining(`on two nodes with Postgres: ${name}`, both);
}

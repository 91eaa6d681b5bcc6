// `switchboard emit` from a shell: one event into a cluster of both kinds of servers.

import assert from "node:assert/strict";
import { describe, it } from "node:test";

import { Inbox, connect } from "./support/clients.mjs";
import { Cluster } from "./support/cluster.mjs";
import { RedisServer } from "./support/redis.mjs";
import { freePorts, runBinary } from "./support/server.mjs";
import { aRoom } from "./support/story.mjs";
import { token } from "./support/tokens.mjs";
import { until } from "./support/waiting.mjs";

const nodes = { n: {}, m: { client: "ioredis" } };
const fine = { code: 0, stdout: "" };

/** It was sent, and there is no node: most likely it is the wrong Redis, prefix or namespace. */
function assertHeardByNoNode({ code, stdout, stderr }) {
  assert.deepEqual({ code, stdout }, { code: 1, stdout: "" }, stderr);
  assert.match(stderr, /nobody hears it: no node serves the namespace \/ \(redis\.key_prefix is "socket\.io"\)/);
}

/** How `switchboard emit` ended. Without a failure it says nothing. */
async function emitted(args, options) {
  const { code, stdout, stderr } = await runBinary(["emit", ...args], options);
  if (code === 0) assert.equal(stderr, "");
  return { code, stdout };
}

for (const protocol of ["classic", "sharded", "streams"]) {
  describe(`switchboard emit, ${protocol}`, async () => {
    const cluster = await Cluster.start(undefined, { protocol, nodes });
    const config = { redis: { url: cluster.redis.url, protocol } };
    const emit = (...args) => emitted(args, { config });
    const only = (names, event) => Object.fromEntries(names.map((name) => [name, [event]]));

    async function crewOf(t) {
      const [alice, bob] = [{ auth: { token: await token("alice") } }, { auth: { token: await token("bob") } }];
      // A Node.js application puts its sockets into the rooms that Switchboard's users have.
      const crew = await cluster.crew(t, { a: alice, b: alice, a2: bob, b2: {}, n: { auth: { rooms: ["user:alice", "authenticated"] } } });
      for (const room of ["user:alice", "authenticated"]) await cluster.listened(room, ["a", "b", "n"]);
      return crew;
    }

    it("--user reaches all sockets of the user once, and nobody else", async (t) => {
      const crew = await crewOf(t);
      assert.deepEqual(await emit("--user", "alice", "says", "1", '{"two":[2.5,null]}', '"drei"'), fine);
      assert.deepEqual(await crew.heard(), only(["a", "b", "n"], ["says", 1, { two: [2.5, null] }, "drei"]));
      const nobody = await runBinary(["emit", "--user", "nobody", "says"], { config });
      // Node.js nodes of the classic format hear of every room, and who reads a stream is not known.
      assert.deepEqual(nobody, { ...fine, stderr: protocol !== "sharded" ? "" : "switchboard: sent, and nobody is there to hear it\n" });
      assert.deepEqual(await crew.heard(), {});
    });

    it("--room reaches its members once, also one socket's own room", async (t) => {
      const crew = await crewOf(t);
      const room = aRoom();
      await crew.join(room, "a", "b2", "n", "m");
      assert.deepEqual(await emit("--room", room, "says"), fine);
      assert.deepEqual(await crew.heard(), only(["a", "b2", "n", "m"], ["says"]));
      for (const name of ["b", "m"]) {
        assert.deepEqual(await emit(`--room=${crew[name].id}`, "says", '"you"'), fine);
        assert.deepEqual(await crew.heard(), only([name], ["says", "you"]));
      }
    });

    it("--all reaches everybody once, --authenticated those with a token", async (t) => {
      const crew = await crewOf(t);
      assert.deepEqual(await emit("--all", "says", '"ünï 🎉"', "9007199254740991"), fine);
      assert.deepEqual(await crew.heard(), only(crew.names, ["says", "ünï 🎉", 9007199254740991]));
      assert.deepEqual(await emit("--authenticated", "says", "true"), fine);
      assert.deepEqual(await crew.heard(), only(["a", "a2", "b", "n"], ["says", true]));
    });

    it("--namespace reaches that namespace and no other", async (t) => {
      const crew = await crewOf(t);
      await cluster.servers.n.run((io) => void io.of("/chat"));
      const inbox = new Inbox(await connect(t, cluster.servers.n, { namespace: "/chat" }));
      // A namespace that has just been made is not subscribed to yet, and nothing tells when it is.
      await until("the event comes", async () => {
        await runBinary(["emit", "--all", "--namespace", "/chat", "says", "1"], { config });
        return inbox.of("says").length;
      });
      assert.deepEqual(inbox.of("says")[0], [1]);
      assert.deepEqual(await crew.heard(), {});
    });
  });
}

describe("switchboard emit, when it cannot", () => {
  it("fails with the address and without the password when Redis is away", async () => {
    const [port] = await freePorts(1);
    const { code, stdout, stderr } = await runBinary(["emit", "--all", "--redis-url", `redis://app:s3cr3t@127.0.0.1:${port}`, "says"]);
    assert.equal(code, 1, stderr);
    assert.equal(stdout, "");
    assert.match(stderr, new RegExp(`127\\.0\\.0\\.1:${port}`));
    assert.doesNotMatch(stderr, /s3cr3t/);
  });

  it("fails without the password when Redis refuses it, and takes the right one", async (t) => {
    const redis = await RedisServer.prepared({ password: "s3cr3t" });
    t.after(() => redis.end());
    await redis.start();
    const url = (password) => ({ env: { REDIS_URL: `redis://:${password}@127.0.0.1:${redis.port}` } });
    const { code, stderr } = await runBinary(["emit", "--all", "says"], url("wr0ng"));
    assert.equal(code, 1, stderr);
    assert.match(stderr, /refuses: the password of the user "default" is not right/);
    assert.doesNotMatch(stderr, /wr0ng/);
    const without = await runBinary(["emit", "--all", "says", "--redis-url", redis.url]);
    assert.match(without.stderr, /refuses: it asks for a login/);
    assert.equal(without.code, 1);
    assertHeardByNoNode(await runBinary(["emit", "--all", "says"], url("s3cr3t")));
  });

  it("ends in time when Redis takes the connection and never answers", async (t) => {
    const redis = await RedisServer.prepared();
    t.after(() => redis.end());
    await redis.start();
    redis.pause();
    const { code, stderr } = await runBinary(["emit", "--all", "--redis-url", redis.url, "says"]);
    assert.equal(code, 1, stderr);
    assert.match(stderr, new RegExp(`127\\.0\\.0\\.1:${redis.port}`));
  });

  // The id of a socket starts with one in 64 cases, and negative numbers always do.
  it("a dash is a start like any other, of a room, a user and a number", async (t) => {
    const redis = await RedisServer.prepared();
    t.after(() => redis.end());
    await redis.start();
    for (const args of [["--room", "-AbC", "says"], ["--user", "-x", "says"], ["--all", "says", "-5", "-1.5e3"]]) {
      assertHeardByNoNode(await runBinary(["emit", ...args], { env: { REDIS_URL: redis.url } }));
    }
  });

  const url = ["--redis-url", "redis://127.0.0.1:6379"];
  const misused = {
    "no target": [...url, "says"],
    "two targets": [...url, "--all", "--room", "r", "says"],
    "no event": [...url, "--all"],
    "an empty event": [...url, "--all", ""],
    "text that is not JSON": [...url, "--all", "says", "hello"],
    "an event that Socket.IO keeps for itself": [...url, "--all", "disconnect"],
    "a namespace without a slash": [...url, "--all", "--namespace", "chat", "says"],
    "no Redis": ["--all", "says"],
    "an address that is none": ["--redis-url", "http://127.0.0.1", "--all", "says"],
    "an unknown option": [...url, "--all", "--everybody", "says"],
  };
  for (const [name, args] of Object.entries(misused)) {
    it(`${name} is a misuse: code 2, and a sentence`, async () => {
      const { code, stdout, stderr } = await runBinary(["emit", ...args]);
      assert.equal(code, 2, stderr);
      assert.equal(stdout, "");
      assert.match(stderr, /\S/);
    });
  }
});

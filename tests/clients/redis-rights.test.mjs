// A user of Redis with exactly the rights that docs/redis.md asks for is enough, and one that lacks
// some is told so: the node is not ready, names them, and answers nothing that it does not know.

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, it } from "node:test";

import { ack, connect, connectWith, connected, disconnected, heard } from "./support/clients.mjs";
import { redisFor } from "./support/redis.mjs";
import { freePorts, serverFor } from "./support/server.mjs";
import { SECRET, token } from "./support/tokens.mjs";
import { until } from "./support/waiting.mjs";

const page = await readFile(join(import.meta.dirname, "../../docs/redis.md"), "utf8");

/** The words of the command on the page that makes the user, with a password. */
function rights(protocol) {
  const [, command] = new RegExp(`\`\`\`acl ${protocol}\n([^\`]+)\`\`\``).exec(page);
  return command.replace(">PASSWORD", ">pw").trim().split(/\s+/);
}

/** The words for recovery over streams, beside the others. */
const forRecovery = () => /recovery\.md\) with `redis\.protocol = "streams"`: `([^`]+)`/.exec(page)[1].split(" ");

// The policy of eviction is asked for, and not needed.
const log = async (redis) => (await redis.cli("ACL", "LOG")).filter(({ object }) => object !== "info");

async function nodeFor(t, redis, protocol, name, more = {}) {
  const [admin] = await freePorts(1);
  const server = await serverFor(t, {
    auth: { hs256_secret: SECRET },
    node_id: name,
    admin_listen: `127.0.0.1:${admin}`,
    users: { offline_after: "0s" },
    ...more,
    redis: { url: `redis://switchboard:pw@127.0.0.1:${redis.port}`, protocol },
  });
  server.api = async (method, path, body) => {
    const response = await fetch(`http://127.0.0.1:${admin}/api/v1${path}`, { method, body: body && JSON.stringify(body), headers: { "content-type": "application/json" }, signal: AbortSignal.timeout(20_000) });
    return { status: response.status, body: await response.json() };
  };
  server.ready = async () => {
    const response = await server.get("/readyz");
    return { status: response.status, reasons: (await response.json()).reasons ?? [] };
  };
  return server;
}

describe("the rights in Redis, streams with recovery", { concurrency: 2 }, () => {
  const recovery = { recovery: { enabled: true } };

  it("those on the page are enough to go on at another node", async (t) => {
    const redis = await redisFor(t);
    await redis.cli(...rights("streams"), ...forRecovery());
    const [a, b] = [await nodeFor(t, redis, "streams", "a", recovery), await nodeFor(t, redis, "streams", "b", recovery)];
    const alice = await connectWith(t, a, await token("alice"));
    const { id, _pid: pid } = alice;
    // It is written right after the client has heard that it is connected.
    await until("its session is in Redis", () => redis.cli("GET", `sio:session:${pid}`));
    await a.kill();
    await until("it has noticed", () => !alice.connected);
    assert.equal((await b.api("POST", "/emit", { users: ["alice"], event: "says", args: [1] })).status, 202);
    alice.io.uri = b.url;
    const says = heard(alice, "says");
    await connected(alice.connect());
    assert.deepEqual({ id: alice.id, pid: alice._pid, recovered: alice.recovered }, { id, pid, recovered: true });
    await says;
    assert.deepEqual(await b.ready(), { status: 200, reasons: [] });
    assert.deepEqual(await log(redis), [], "Redis has refused nothing");
  });

  for (const command of ["xrange", "get", "set"]) {
    it(`without ${command} a node is not ready, and says why`, async (t) => {
      const redis = await redisFor(t);
      await redis.cli(...rights("streams"), ...forRecovery(), `-${command}`);
      const a = await nodeFor(t, redis, "streams", "a", recovery);
      const named = `redis refuses ${command.toUpperCase()} to the user "switchboard"`;
      await until("it says what is refused", async () => (await a.ready()).reasons.includes(named));
    });
  }
});

for (const protocol of ["classic", "sharded", "streams"]) {
  describe(`the rights in Redis, ${protocol}`, { concurrency: 3 }, () => {
    it("those on the page are enough for all that nodes do", { timeout: 180_000 }, async (t) => {
      const redis = await redisFor(t);
      await redis.cli(...rights(protocol));
      const [a, b] = [await nodeFor(t, redis, protocol, "a"), await nodeFor(t, redis, protocol, "b")];
      const [alice, bob] = [await connectWith(t, a, await token("alice")), await connectWith(t, b, await token("bob"))];
      for (const socket of [alice, bob]) await ack(socket, "join", "public:r");
      const says = heard(bob, "says");
      await ack(alice, "publish", { room: "public:r", event: "says", data: 1 });
      await says;
      bob.on("what", (answer) => answer("bob"));
      assert.deepEqual((await a.api("POST", "/emit", { users: ["bob"], event: "what", ack: { timeout_ms: 5_000 } })).body.acks, ["bob"]);
      for (const path of ["/users", "/users/bob", "/nodes", "/rooms/public:r"]) assert.equal((await a.api("GET", path)).status, 200, path);
      assert.deepEqual((await a.api("POST", "/users/online", { ids: ["bob", "eve"] })).body.online, { bob: true, eve: false });
      const gone = disconnected(bob);
      assert.deepEqual(await a.api("POST", "/users/bob/disconnect", {}), { status: 200, body: { disconnected: 1 } });
      await gone;
      // What Redis forgets is listed again, and what a crash leaves is swept.
      await redis.cli("FLUSHALL");
      await until("everybody is listed again", async () => (await a.api("GET", "/users/alice")).body.online, 20_000);
      await connectWith(t, b, await token("carol"));
      await b.kill();
      await until("what it held is removed", async () => (await a.api("GET", "/users/carol")).body.online === false, 40_000);
      assert.deepEqual(await a.ready(), { status: 200, reasons: [] });
      assert.deepEqual(await log(redis), [], "Redis has refused nothing");
    });

    const publish = { classic: "publish", sharded: "spublish", streams: "xadd" }[protocol];
    const count = protocol === "sharded" ? "pubsub|shardnumsub" : "pubsub|numsub";
    const lacking = { "scripts": "evalsha", "writes": "zadd", "publishing": publish, "counting": count };
    if (protocol === "streams") lacking["the end of its former connections"] = "client|kill";
    for (const [what, command] of Object.entries(lacking)) {
      it(`without the right for ${what} a node is not ready, says why, and answers nothing false`, { timeout: 120_000 }, async (t) => {
        const redis = await redisFor(t);
        await redis.cli(...rights(protocol), `-${command}`);
        const a = await nodeFor(t, redis, protocol, "a");
        const named = `redis refuses ${command.toUpperCase()} to the user "switchboard"`;
        await until("it says what is refused", async () => (await a.ready()).reasons.includes(named));
        assert.deepEqual(await a.ready(), { status: 503, reasons: [named] });
        assert.equal(a.logs.split(named).length, 2, `one warning:\n${a.logs}`);
        const alice = await connectWith(t, a, await token("alice"));
        if (command === count) {
          // Whoever does not know the other nodes does not know whose acknowledgements are missing.
          alice.on("what", (answer) => answer("alice"));
          assert.equal((await a.api("POST", "/emit", { users: ["alice"], event: "what", ack: { timeout_ms: 1_000 } })).body.error?.code, "unavailable");
          assert.equal((await a.api("GET", "/rooms/x")).status, 503);
        } else if (command !== publish) {
          for (const path of ["/users", "/users/alice", "/nodes"]) assert.equal((await a.api("GET", path)).body.error?.code, "unavailable", path);
          assert.equal((await a.api("POST", "/users/online", { ids: ["alice", "eve"] })).status, 503);
        } else {
          assert.equal((await a.api("POST", "/emit", { all: true, event: "e" })).status, 503);
          assert.equal((await a.api("GET", "/rooms/x")).status, 503);
        }
        const gone = disconnected(alice);
        const answer = await a.api("POST", "/users/alice/disconnect", {});
        // Where a user is stands in the directory, and needs no count.
        if (command === count) assert.deepEqual(answer.body, { disconnected: 1 });
        else assert.equal(answer.body.error?.code, "unavailable");
        await gone; // what can be done here is done

        await redis.cli("ACL", "SETUSER", "switchboard", `+${command}`);
        await until("it is ready again", async () => (await a.ready()).status === 200, 20_000);
        await connectWith(t, a, await token("alice"));
        await until("she is listed", async () => (await a.api("GET", "/users/alice")).body.sockets?.length === 1, 20_000);
        await connect(t, a);
      });
    }
  });
}

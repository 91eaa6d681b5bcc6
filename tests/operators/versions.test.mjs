// Redis in each version that can be had: two nodes and one of Node.js are one cluster, a user with the rights of
// docs/redis.md is enough, and after a crash of Redis all goes on.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, it } from "node:test";

import { ack, connectWith, disconnected, heard } from "../clients/support/clients.mjs";
import { nodeFor } from "../clients/support/nodes.mjs";
import { redisFor } from "../clients/support/redis.mjs";
import { freePorts, runBinary, serverFor } from "../clients/support/server.mjs";
import { SECRET, token } from "../clients/support/tokens.mjs";
import { until } from "../clients/support/waiting.mjs";
import { Traffic, troubles } from "./redis.mjs";

const TOOLS = join(import.meta.dirname, "../../target/tools/redis");
const page = readFileSync(join(import.meta.dirname, "../../docs/redis.md"), "utf8");

/** The programs by what they say they are; `make test-operators` fetches those beside the installed one. */
const programs = ["redis-server", ...(existsSync(TOOLS) ? readdirSync(TOOLS).map((name) => join(TOOLS, name, "redis-server")) : [])];
const versions = programs.map((program) => {
  const [, name, version] = /^(\w+) server v=(\S+)/.exec(execFileSync(program, ["--version"], { encoding: "utf8" }));
  return { program, name: `${name} ${version}`, major: Number.parseFloat(version) };
});

/** The command on the page that makes the user, with the right that the page has for most versions. */
function rights(protocol, { major }) {
  const [, command] = new RegExp(`\`\`\`acl ${protocol}\n([^\`]+)\`\`\``).exec(page);
  const words = command.replace(">PASSWORD", ">pw").trim().split(/\s+/);
  // Redis 7.0 and 7.1 know neither the command nor the right.
  return major >= 7 && major < 7.2 ? words : [...words, "+client|setinfo"];
}

async function ours(t, redis, protocol, node_id) {
  const [admin] = await freePorts(1);
  const server = await serverFor(t, {
    auth: { hs256_secret: SECRET, mode: "optional" },
    node_id,
    admin_listen: `127.0.0.1:${admin}`,
    users: { offline_after: "0s" },
    redis: { url: `redis://switchboard:pw@127.0.0.1:${redis.port}`, protocol },
  });
  server.api = async (method, path, body) => {
    const response = await fetch(`http://127.0.0.1:${admin}/api/v1${path}`, { method, body: body && JSON.stringify(body), headers: { "content-type": "application/json" }, signal: AbortSignal.timeout(20_000) });
    return response.json();
  };
  return server;
}

for (const version of versions) {
  for (const protocol of version.major < 7 ? ["classic"] : ["classic", "sharded"]) {
    describe(`${version.name}, ${protocol}`, () => {
      it("joins nodes of both kinds, with the rights on the page alone, and again after a crash", { timeout: 120_000 }, async (t) => {
        const redis = await redisFor(t, { program: version.program, keeps: true });
        await redis.cli(...rights(protocol, version));
        const nodes = [await ours(t, redis, protocol, "a"), await ours(t, redis, protocol, "b")];
        const foreign = await nodeFor(t, { redis: redis.url, adapter: protocol });
        const [a, b] = nodes;
        const [alice, bob] = [await connectWith(t, a, await token("alice")), await connectWith(t, b, await token("bob"))];
        bob.on("what", (answer) => answer("bob"));
        await until("both nodes are counted", async () => (await a.api("GET", "/nodes")).nodes?.length === 2, 15_000);
        const emitted = async () => (await a.api("POST", "/emit", { users: ["bob"], event: "what", ack: { timeout_ms: 5_000 } })).acks;
        assert.deepEqual(await emitted(), ["bob"]);
        assert.deepEqual((await b.api("POST", "/users/online", { ids: ["alice", "eve"] })).online, { alice: true, eve: false });

        const traffic = await Traffic.start(t, nodes);
        const foreigner = await Traffic.start(t, [a, foreign]);
        const { missing } = await traffic.result();
        assert.deepEqual(missing, [0, 0]);
        assert.deepEqual((await foreigner.result()).missing, [0, 0]);
        const refused = (await redis.cli("ACL", "LOG")).filter(({ object }) => object !== "info"); // not needed
        assert.deepEqual(refused, [], "Redis has refused nothing");
        if (version.major >= 7.2) assert.match(await redis.text("CLIENT", "LIST"), /lib-name=switchboard/);

        await redis.kill();
        await until("both say that it is away", async () => (await troubles(a)).length && (await troubles(b)).length, 15_000);
        await redis.start();
        // Rights are in its memory alone.
        await redis.cli(...rights(protocol, version));
        await until("both are ready again", async () => !(await troubles(a)).length && !(await troubles(b)).length, 30_000);
        const again = await Traffic.start(t, [a, b]);
        assert.deepEqual((await again.result()).missing, [0, 0]);
        const carol = await connectWith(t, b, await token("carol"));
        await until("who has come is listed", async () => (await a.api("GET", "/users/carol")).online, 20_000);
        const gone = disconnected(carol);
        assert.deepEqual(await a.api("POST", "/users/carol/disconnect", {}), { disconnected: 1 });
        await gone;
      });
    });
  }

  if (version.major < 7) {
    it(`${version.name} is refused for sharded channels, with the reason`, async (t) => {
      const redis = await redisFor(t, { program: version.program });
      const { code, stderr } = await runBinary(["serve"], { config: { listen: "127.0.0.1:0", admin_listen: "", redis: { url: redis.url, protocol: "sharded" } } });
      assert.equal(code, 1);
      assert.match(stderr, /sharded channels need Redis 7 or later/);
    });
  }
}

// Events out of transactions in Postgres: what an application commits reaches the clients of all nodes, in
// order, whatever happens to nodes and to the database meanwhile. What it rolls back reaches nobody.

import assert from "node:assert/strict";
import { describe, it } from "node:test";

import { connect, connectWith } from "./support/clients.mjs";
import { emit, firsts, held, listening, outboxFor } from "./support/outbox.mjs";
import { postgresFor } from "./support/postgres.mjs";
import { freePorts, runBinary, serverFor } from "./support/server.mjs";
import { token } from "./support/tokens.mjs";
import { until } from "./support/waiting.mjs";

const outbox = await outboxFor();

describe("an event inside a transaction", () => {
  it("reaches the clients of all nodes after the commit, and nobody after a rollback", async (t) => {
    const { cluster, postgres, app } = outbox;
    const [a, b] = await Promise.all(["a", "b"].map((name) => connect(t, cluster.servers[name])));
    const heard = [listening(a, "paid"), listening(b, "paid")];
    const session = postgres.session({ url: app });
    t.after(() => session.end());
    await session.sql("BEGIN");
    await session.sql(emit({ all: true }, "paid", ["rolled back"]));
    await session.sql("ROLLBACK");
    await session.sql("BEGIN");
    await session.sql(emit({ all: true }, "paid", [{ n: 1, text: "it's \"ü\" 😀" }, [true, null, 2.5]]));
    await session.sql("COMMIT");
    for (const one of heard) {
      await until("it has come", () => one.length > 0);
      assert.deepEqual(one, [[{ n: 1, text: "it's \"ü\" 😀" }, [true, null, 2.5]]]);
    }
  });

  it("says to the application what is wrong", async () => {
    const { postgres, app } = outbox;
    await assert.rejects(postgres.sql(emit({ room: ["a"] }, "x"), { url: app }), /target: unknown key "room"/);
    await assert.rejects(postgres.sql(emit({ all: true }, "connect_error"), { url: app }), /reserved by Socket\.IO/);
  });

  it("goes to users, rooms and sockets, and not to who is left out", async (t) => {
    const { cluster, postgres, app } = outbox;
    const ada = await connectWith(t, cluster.servers.a, await token("ada"));
    const bob = await connectWith(t, cluster.servers.b, await token("bob"));
    const guest = await connect(t, cluster.servers.b);
    const heard = { ada: listening(ada, "to"), bob: listening(bob, "to"), guest: listening(guest, "to") };
    const each = [
      { users: ["ada"] },
      { sockets: [guest.id], users: ["bob"] },
      { authenticated: true, except_users: ["ada"] },
      { all: true },
    ];
    // One after the other: they are in different partitions.
    for (const [n, target] of each.entries()) {
      await postgres.sql(emit(target, "to", [n]), { url: app });
      const counts = [1, 2, 1, 3];
      const sum = counts.slice(0, n + 1).reduce((a, b) => a + b);
      await until(`${JSON.stringify(target)} has come`, () => Object.values(heard).flat().length === sum);
    }
    assert.deepEqual(heard, { ada: [[0], [3]], bob: [[1], [2], [3]], guest: [[1], [3]] });
  });

  it("has a place in the order of the commits, the same on all nodes", async (t) => {
    const { cluster, postgres, app } = outbox;
    const heard = [];
    for (const name of ["a", "b"]) heard.push(listening(await connect(t, cluster.servers[name]), "counted"));
    const writer = (w) => `DO $$ BEGIN FOR i IN 1..100 LOOP
      PERFORM switchboard_emit('{"all":true}', 'counted', jsonb_build_array(${w} * 1000 + i)); COMMIT; END LOOP; END $$`;
    await Promise.all([1, 2, 3, 4].map((w) => postgres.sql(writer(w), { url: app })));
    await until("all have come", () => heard.every((one) => one.length >= 400));
    assert.deepEqual(heard[0], heard[1]);
    for (const w of [1, 2, 3, 4]) {
      const own = heard[0].map(([n]) => n).filter((n) => Math.floor(n / 1000) === w);
      assert.deepEqual(own, Array.from({ length: 100 }, (_, i) => w * 1000 + i + 1));
    }
  });

  it("waits in the inbox of a user who is away", async (t) => {
    const { cluster, postgres, app } = outbox;
    await postgres.sql(emit({ users: ["carol"], kept: "1h" }, "invoice", ["march"]), { url: app });
    const heard = [];
    const carol = await connect(t, cluster.servers.b, {
      auth: { token: await token("carol") },
      onOpen: (socket) => socket.on("invoice", (month, done) => { heard.push(month); done(); }),
    });
    await until("it has come", () => heard.length > 0);
    await postgres.sql(emit({ users: ["carol"], kept: true }, "invoice", ["april"]), { url: app });
    await until("the next one has come", () => heard.length > 1);
    assert.deepEqual(heard, ["march", "april"]);
    carol.close();
  });

  it("is sent once for a key", async (t) => {
    const { cluster, postgres, app } = outbox;
    const heard = listening(await connect(t, cluster.servers.a), "keyed");
    const id = await postgres.sql(emit({ all: true }, "keyed", [1], "order 7"), { url: app });
    assert.equal(await postgres.sql(emit({ all: true }, "keyed", [2], "order 7"), { url: app }), id);
    await postgres.sql(emit({ all: true }, "keyed", [3]), { url: app });
    await until("the last one has come", () => heard.some(([n]) => n === 3));
    assert.deepEqual(heard, [[1], [3]]);
  });

  it("is set aside with the reason if it cannot be sent", async () => {
    const { postgres, app } = outbox;
    const deep = JSON.parse("[".repeat(150) + "]".repeat(150));
    await postgres.sql(emit({ all: true }, "deep", deep), { url: app });
    const reason = () => postgres.sql("SELECT reason FROM switchboard.outbox_dead WHERE event = 'deep'");
    await until("it is set aside", reason);
    assert.match(await reason(), /nested|recursion|deep/);
  });
});

describe("nothing is lost, and nothing comes out of order", () => {
  it("when the node that sends is killed", async (t) => {
    const { cluster, postgres, app } = await outboxFor(t);
    const heard = listening(await connect(t, cluster.servers.b), "n");
    let killed;
    for (let n = 0; n < 60; n++) {
      for (const room of ["r", "s"]) await postgres.sql(emit({ rooms: [room], all: true }, "n", [`${room}${n}`]), { url: app });
      if (n === 20) killed = cluster.servers.a.kill();
    }
    await killed;
    await until("all have come", () => firsts(heard).length === 120, 30_000);
    for (const room of ["r", "s"]) {
      const own = firsts(heard).filter((value) => value.startsWith(room));
      assert.deepEqual(own, Array.from({ length: 60 }, (_, n) => `${room}${n}`));
    }
    t.diagnostic(`${heard.length - 120} of 120 came more than once`);
  });

  it("when Postgres is restarted", async (t) => {
    const { cluster, postgres, app } = await outboxFor(t);
    const heard = listening(await connect(t, cluster.servers.b), "n");
    let restarted;
    for (let n = 0; n < 60; n++) {
      // The application tries again, by a key, until it has heard of the commit.
      await until(`${n} is committed`, () => postgres.sql(emit({ all: true }, "n", [n], `n${n}`), { url: app }).then(() => true, () => false));
      if (n === 20) restarted = postgres.kill().then(() => postgres.restart());
    }
    await restarted;
    await until("all have come", () => firsts(heard).length === 60, 30_000);
    assert.deepEqual(firsts(heard), Array.from({ length: 60 }, (_, n) => n));
    t.diagnostic(`${heard.length - 60} of 60 came more than once`);
  });

  it("when a node leaves in good order, and at once", async (t) => {
    const { cluster, postgres, app } = await outboxFor(t);
    const heard = listening(await connect(t, cluster.servers.b), "n");
    await until("both have partitions", async () => (await held(postgres, "a")) === 4 && (await held(postgres, "b")) === 4);
    const stopped = cluster.servers.a.stop();
    for (let n = 0; n < 40; n++) await postgres.sql(emit({ rooms: [`r${n % 8}`], all: true }, "n", [n]), { url: app });
    await stopped;
    assert.equal(await held(postgres, "a"), 0, "it has left nothing behind");
    await until("all have come", () => heard.length >= 40);
    assert.deepEqual(heard.map(([n]) => n).sort((a, b) => a - b), Array.from({ length: 40 }, (_, n) => n), "each once");
  });
});

describe("switchboard migrate", () => {
  it("makes the tables that a node without the right to make them needs", async (t) => {
    const postgres = await postgresFor(t);
    const store = { url: postgres.url, migrate: false };
    const [port] = await freePorts(1);
    const config = { listen: `127.0.0.1:${port}`, store, outbox: { enabled: true } };
    const refused = await runBinary(["serve"], { config });
    assert.equal(refused.code, 1);
    assert.match(refused.stderr, /are of version 0, and this version of Switchboard needs \d+: run `switchboard migrate`/);
    const migrated = await runBinary(["migrate"], { config });
    assert.deepEqual({ code: migrated.code, stdout: migrated.stdout }, { code: 0, stdout: "" }, migrated.stderr);
    assert.equal((await runBinary(["migrate"], { config })).code, 0, "once more");
    await serverFor(t, { store, outbox: { enabled: true } });
  });

  it("fails if the database cannot be reached, and does not say the password", async () => {
    const [port] = await freePorts(1);
    const env = { POSTGRES_URL: `postgres://app@127.0.0.1:${port}/x`, PGPASSWORD: "s3cret-word" };
    const { code, stderr } = await runBinary(["migrate"], { env });
    assert.equal(code, 1);
    assert.match(stderr, new RegExp(`Postgres at 127\\.0\\.0\\.1:${port} cannot be used`));
    assert.doesNotMatch(stderr, /s3cret/);
  });
});

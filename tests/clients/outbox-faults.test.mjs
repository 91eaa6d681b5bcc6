// The outbox while something else is at fault: a node that freezes, a Postgres that fails over, a Redis that is
// slow or takes nothing as large. What is committed reaches the clients, in the order of each partition.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { describe, it } from "node:test";
import { setTimeout as pause } from "node:timers/promises";
import { promisify } from "node:util";

import { connect } from "./support/clients.mjs";
import { emit, firsts, held, listening, outboxFor } from "./support/outbox.mjs";
import { postgresFor } from "./support/postgres.mjs";
import { until } from "./support/waiting.mjs";

const exec = promisify(execFile);
const range = (from, to) => Array.from({ length: to - from + 1 }, (_, n) => from + n);

/** Most events that a node has in hand. */
const BATCH = 512;

/** Writers that commit event after event, each to a room of its own, until they are told to stop. */
class Writers {
  static async start(postgres, app, count) {
    const writers = new Writers();
    Object.assign(writers, { postgres, count });
    await postgres.sql("CREATE TABLE stop (); GRANT SELECT ON stop TO app; CREATE TABLE committed (writer int, count int); GRANT INSERT ON committed TO app");
    const body = (w) => `DECLARE i int := 0; BEGIN
      WHILE NOT EXISTS (SELECT FROM stop) LOOP
        i := i + 1;
        PERFORM switchboard_emit('{"rooms":["r${w}"],"all":true}', 'n', jsonb_build_array(${w}, i));
        COMMIT;
        PERFORM pg_sleep(0.001);
      END LOOP;
      INSERT INTO committed VALUES (${w}, i); END`;
    // They write for longer than a statement may otherwise take here.
    writers.all = range(1, count).map((w) => exec("psql", ["-XqtA", "-v", "ON_ERROR_STOP=1", "-c", `DO $$ ${body(w)} $$`, app]));
    return writers;
  }

  /** How many each has committed, once they have stopped. */
  async stopped() {
    await this.postgres.sql("INSERT INTO stop DEFAULT VALUES");
    await Promise.all(this.all);
    const rows = await this.postgres.sql("SELECT count FROM committed ORDER BY writer");
    return rows.split("\n").map(Number);
  }
}

/** The numbers of one writer, as they came. */
const of = (heard, writer) => heard.filter(([w]) => w === writer).map(([, n]) => n);

/** How often something came that had come before, and the longest run of that. */
function repetitions(numbers) {
  const [seen, runs] = [new Set(), []];
  for (const n of numbers) {
    if (!seen.has(n)) runs.push(0);
    else runs[Math.max(runs.length - 1, 0)] += 1;
    seen.add(n);
  }
  return { count: numbers.length - seen.size, longest: Math.max(0, ...runs) };
}

describe("nothing is lost, and nothing comes out of order", () => {
  it("when the node that sends is frozen for longer than its lease, and goes on", { timeout: 180_000 }, async (t) => {
    const { cluster, postgres, app } = await outboxFor(t, { ours: ["a", "b", "c"] });
    const heard = {};
    for (const name of ["b", "c"]) heard[name] = listening(await connect(t, cluster.servers[name]), "n");
    const have = async (...names) => (await Promise.all(names.map((name) => held(postgres, name)))).reduce((a, b) => a + b);
    await until("all have partitions", async () => (await have("a")) > 1 && (await have("b")) > 1 && (await have("c")) > 1);
    const writers = await Writers.start(postgres, app, 6);
    await until("it flows", () => heard.b.length > 500);
    cluster.servers.a.signal("SIGSTOP");
    t.after(() => cluster.servers.a.signal("SIGCONT"));
    const frozen = Date.now();
    await until("the others have all partitions", async () => (await have("b", "c")) === 8, 30_000);
    t.diagnostic(`taken over after ${Date.now() - frozen} ms`);
    const then = heard.b.length;
    await until("it flows again", () => heard.b.length > then + 500, 30_000);
    cluster.servers.a.signal("SIGCONT");
    await until("it has partitions again", async () => (await have("a")) > 1, 30_000);
    const last = heard.b.length;
    await until("it flows on", () => heard.b.length > last + 500, 30_000);
    const counts = await writers.stopped();
    const total = counts.reduce((a, b) => a + b);
    for (const [name, all] of Object.entries(heard)) {
      const missing = () => `${name} hears the last of ${counts}`;
      await until(missing, () => counts.every((count, w) => of(all, w + 1).includes(count)), 60_000);
      let [repeated, longest] = [0, 0];
      for (const [w, count] of counts.entries()) {
        const numbers = of(all, w + 1);
        assert.deepEqual([...new Set(numbers)], range(1, count), `${name}: of writer ${w + 1}`);
        const its = repetitions(numbers);
        repeated += its.count;
        longest = Math.max(longest, its.longest);
      }
      t.diagnostic(`${name}: ${total} events, none lost, none out of order, ${repeated} repeated`);
      // What it had in hand when it froze, sent by the next node, and what of it had been on its way.
      assert.ok(repeated <= 2 * BATCH, `${repeated} repeated, ${longest} in a row`);
    }
    assert.equal(await postgres.sql("SELECT count(*) FROM switchboard.outbox_dead"), "0");
  });

  for (const [name, fail] of [["ends", (primary) => primary.kill()], ["says nothing any more", (primary) => primary.pause()]]) {
    it(`when the primary of Postgres ${name}, and a standby takes its place`, { timeout: 180_000 }, async (t) => {
      const primary = await postgresFor(t);
      const standby = await postgresFor(t, { primary });
      // What was confirmed is on both.
      await primary.sql("ALTER SYSTEM SET synchronous_standby_names = '*'");
      await primary.sql("SELECT pg_reload_conf()");
      await until("it is synchronous", async () => (await primary.sql("SELECT sync_state FROM pg_stat_replication")) === "sync");
      const of = (user, ...servers) => `postgres://${user}@${servers.map(({ port }) => `127.0.0.1:${port}`)}/postgres?target_session_attrs=read-write`;
      const { cluster } = await outboxFor(t, { postgres: primary, url: of("postgres", primary, standby) });
      await primary.sql("CREATE TABLE orders (n int PRIMARY KEY); GRANT SELECT, INSERT ON orders TO app");
      const heard = [];
      for (const name of ["a", "b"]) heard.push(listening(await connect(t, cluster.servers[name]), "order"));
      // The application tries again until it has heard of the commit, as it always has to.
      const order = (n) => {
        const sql = `WITH kept AS (INSERT INTO orders VALUES (${n}) ON CONFLICT DO NOTHING) ${emit({ all: true }, "order", [n], `order ${n}`)}`;
        const args = ["-XqtA", "-v", "ON_ERROR_STOP=1", "-c", sql, of("app", standby, primary)];
        return exec("psql", args, { timeout: 4_000 }).then(() => true, () => false);
      };
      const total = 200;
      const ordering = (async () => {
        for (const n of range(1, total)) await until(`order ${n} is committed`, () => order(n), 60_000);
      })();
      await until("some have come", () => heard[0].length > 40, 60_000);
      const failed = Date.now();
      await fail(primary);
      await standby.promote();
      // Nobody follows the new one.
      await standby.sql("ALTER SYSTEM RESET synchronous_standby_names");
      await standby.sql("SELECT pg_reload_conf()");
      const before = heard[0].length;
      await until("the next one has come", () => heard[0].length > before, 60_000);
      t.diagnostic(`it went on after ${Date.now() - failed} ms`);
      await ordering;
      assert.equal(await standby.sql("SELECT count(*) FROM orders"), String(total));
      for (const one of heard) {
        await until(() => `all have come, and not ${firsts(one).length}`, () => firsts(one).length >= total, 60_000);
        assert.deepEqual(firsts(one), range(1, total));
        t.diagnostic(`${total} orders: none lost, none out of order, ${one.length - total} repeated`);
      }
      assert.equal(await standby.sql("SELECT count(*) FROM switchboard.outbox_dead"), "0");
    });
  }
});

describe("an event is set aside", () => {
  it("never because Redis is slow", async (t) => {
    const { cluster, postgres, app } = await outboxFor(t, { redis: { request_timeout: "100ms" } });
    const heard = [];
    for (const name of ["a", "b"]) heard.push(listening(await connect(t, cluster.servers[name]), "n"));
    await postgres.sql(emit({ all: true }, "n", [0]), { url: app });
    await until("it has come", () => heard.every((one) => one.length > 0));
    await cluster.redis.cli("CLIENT", "PAUSE", 6000, "ALL");
    const paused = Date.now();
    for (const n of range(1, 20)) await postgres.sql(emit({ all: true }, "n", [n]), { url: app });
    await until("all have come", () => heard.every((one) => firsts(one).length === 21), 30_000);
    assert.ok(Date.now() - paused > 5000, "Redis was slow");
    for (const one of heard) assert.deepEqual(firsts(one), range(0, 20));
    assert.equal(await postgres.sql("SELECT count(*) FROM switchboard.outbox_dead"), "0");
    t.diagnostic(`${heard.map((one) => one.length - 21)} repeated`);
  });

  it("if it is too large for Redis, and no other one", async (t) => {
    const { cluster, postgres, app } = await outboxFor(t);
    const heard = [];
    for (const name of ["a", "b"]) heard.push(listening(await connect(t, cluster.servers[name]), "n"));
    await cluster.redis.cli("CONFIG", "SET", "client-output-buffer-limit", "pubsub 300kb 300kb 0");
    // In one transaction, so that they are in one batch.
    const all = range(1, 30).map((n) => `${emit({ all: true }, "n", n === 20 ? [n, "x".repeat(400_000)] : [n])};`);
    const session = postgres.session({ url: app });
    t.after(() => session.end());
    await session.sql("BEGIN");
    for (const one of all) await session.sql(one);
    await session.sql("COMMIT");
    const small = range(1, 30).filter((n) => n !== 20);
    await until("the others have come", () => heard.every((one) => firsts(one).filter((n) => n !== 20).length === 29), 30_000);
    await until("it is set aside", () => postgres.sql("SELECT 1 FROM switchboard.outbox_dead"));
    for (const one of heard) assert.deepEqual(firsts(one).filter((n) => n !== 20), small);
    assert.equal(await postgres.sql("SELECT args -> 0, reason FROM switchboard.outbox_dead"), "20|it is too large for the way to the other nodes");
    t.diagnostic(`${heard.map((one) => one.length - firsts(one).length)} repeated`);
  });
});

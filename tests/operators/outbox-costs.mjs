// What the outbox does in a second, and how long an event is on its way: out of transactions of pgbench, by
// two nodes, to a client of the official library. Not a test; it prints a table.
//
//   SWITCHBOARD_BIN=../../target/release/switchboard node outbox-costs.mjs [SECONDS] [ROUNDS]
//
// SECONDS: how long each row of the table is measured for; 10. ROUNDS: how often, each with a database and nodes
// of its own; 3. The table has the median of the rounds, and in brackets the least and the most events a second.
//
// Everything shares one machine. The times are from the call inside the transaction to the client, so the
// commit is in them; what pgbench waits for its transaction is in the column before. Postgres writes to the
// disk at every commit (`fsync=on`). In an open loop transactions come at their times, whether the ones before
// are done or not; otherwise each client of pgbench waits for its commit and goes on at once.

import { execFile } from "node:child_process";
import { mkdtemp, readFile, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";

import { connected, open } from "../clients/support/clients.mjs";
import { Cluster } from "../clients/support/cluster.mjs";
import { PostgresServer } from "../clients/support/postgres.mjs";
import { until } from "../clients/support/waiting.mjs";

const exec = promisify(execFile);
const [seconds = 10, rounds = 3] = process.argv.slice(2).map(Number);

const at = (sorted, part) => sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * part))] ?? NaN;

/** Processor time of a process, in ms. */
async function cpuOf(pid) {
  const fields = (await readFile(`/proc/${pid}/stat`, "utf8").catch(() => ") 0")).split(") ")[1].split(" ");
  return (Number(fields[11] ?? 0) + Number(fields[12] ?? 0)) * 10;
}

/** Processor time of Postgres and its children, those that have ended included. */
async function cpuOfPostgres(main) {
  let sum = await cpuOf(main);
  const own = (await readFile(`/proc/${main}/stat`, "utf8")).split(") ")[1].split(" ");
  sum += (Number(own[13]) + Number(own[14])) * 10;
  for (const pid of (await readdir("/proc")).filter((name) => /^\d+$/.test(name))) {
    const stat = await readFile(`/proc/${pid}/stat`, "utf8").catch(() => "");
    if (Number(stat.split(") ")[1]?.split(" ")[1]) === main) sum += await cpuOf(pid);
  }
  return sum;
}

const EMIT =
  "SELECT switchboard_emit(jsonb_build_object('rooms', jsonb_build_array('r' || (random() * 1000)::int), 'all', true), 'n', jsonb_build_array(extract(epoch FROM clock_timestamp())))";

/** The rows of the table. `rate`: transactions a second; a share of what 16 clients get if it is less than 1. */
const ROWS = [
  { name: "1 client", clients: 1 },
  { name: "16 clients", clients: 16, isCapacity: true },
  { name: "20 events a transaction, 8 clients", clients: 8, each: 20 },
  { name: "open loop, 200/s", clients: 4, rate: 200 },
  { name: "open loop, half of 16 clients", clients: 16, rate: 0.5 },
  { name: "open loop, 80 % of 16 clients", clients: 16, rate: 0.8 },
  { name: "16 clients, without emitting", clients: 16, each: 0 },
];

/** Where Debian has it. */
async function pgbench() {
  const versions = await readdir("/usr/lib/postgresql");
  return `/usr/lib/postgresql/${versions.toSorted().at(-1)}/bin/pgbench`;
}

/** One round: a list of what each row measured. */
async function round(program) {
  const ends = [];
  const scene = { after: (end) => ends.push(end) };
  const postgres = await PostgresServer.started({ settings: ["fsync=on", "shared_buffers=128MB"] });
  const folder = await mkdtemp(join(tmpdir(), "outbox-costs-"));
  try {
    const cluster = await Cluster.start(scene, { config: { store: { url: postgres.url }, outbox: { enabled: true } } });
    const client = await connected(open(cluster.servers.b));
    const times = [];
    let heard = 0;
    client.on("n", (sent) => {
      heard += 1;
      times.push(performance.timeOrigin + performance.now() - sent * 1000);
    });
    const nodes = ["a", "b"].map((name) => cluster.servers[name].process.pid);
    const checkpointer = await postgres.sql("SELECT pid FROM pg_stat_activity WHERE backend_type = 'checkpointer'");
    const stat = await readFile(`/proc/${checkpointer}/stat`, "utf8");
    const main = Number(stat.split(") ")[1].split(" ")[1]);
    const spent = async () => [await cpuOfPostgres(main), (await cpuOf(nodes[0])) + (await cpuOf(nodes[1]))];
    const run = async (sql, options, time) => {
      const file = join(folder, "script.sql");
      await writeFile(file, sql);
      const { stdout } = await exec(program, ["-n", "-f", file, "-T", String(time), ...options, "-h", "127.0.0.1", "-p", String(postgres.port), "-U", "postgres", "postgres"]);
      // In an open loop without the wait for its time.
      const lag = Number(/rate limit schedule lag: avg ([\d.]+)/.exec(stdout)?.[1] ?? 0);
      return {
        transactions: Number(/transactions actually processed: (\d+)/.exec(stdout)[1]),
        latency: Number(/latency average = ([\d.]+)/.exec(stdout)[1]) - lag,
      };
    };
    const hear = (from, count) => until(() => `${heard - from} of ${count}`, () => heard - from >= count, 60_000);
    const warm = await run(`${EMIT};`, ["-c", "4"], 2);
    await hear(0, warm.transactions);

    const measured = [];
    let capacity;
    for (const { clients, each = 1, rate, isCapacity } of ROWS) {
      const sql = each === 0 ? EMIT.replace("switchboard_emit", "concat") : each === 1 ? EMIT : `${EMIT} FROM generate_series(1, ${each})`;
      const pace = rate && Math.round(rate < 1 ? rate * capacity : rate);
      const [count, before, began] = [heard, await spent(), performance.now()];
      times.length = 0;
      const { transactions, latency } = await run(`${sql};`, ["-c", String(clients), ...(pace ? ["-R", String(pace)] : [])], seconds);
      await hear(count, transactions * each);
      const took = (performance.now() - began) / 1000;
      const after = await spent();
      const sorted = times.toSorted((a, b) => a - b);
      const events = transactions * (each || 1);
      if (isCapacity) capacity = events / took;
      const [ofPostgres, ofNodes] = after.map((ms, n) => ((ms - before[n]) * 1000) / events);
      measured.push({ rate: events / took, latency, p50: at(sorted, 0.5), p99: at(sorted, 0.99), ofPostgres, ofNodes });
    }
    client.close();
    return measured;
  } finally {
    for (const end of ends.reverse()) await end();
    await postgres.end();
    await rm(folder, { recursive: true, force: true });
  }
}

const program = await pgbench();
const all = [];
for (let n = 0; n < rounds; n++) all.push(await round(program));
console.log("| transactions | events/s | transaction, ms | p50, ms | p99, ms | Postgres, µs an event | both nodes, µs an event |");
console.log("|---|---:|---:|---:|---:|---:|---:|");
for (const [place, { name, each }] of ROWS.entries()) {
  const of = (key) => all.map((measured) => measured[place][key]).toSorted((a, b) => a - b);
  const median = (key, digits) => at(of(key), 0.5).toFixed(digits);
  const rates = of("rate");
  const range = `${median("rate", 0)} (${rates[0].toFixed(0)} to ${rates.at(-1).toFixed(0)})`;
  const way = each === 0 ? ["", ""] : [median("p50", 1), median("p99", 1)];
  console.log(`| ${[name, range, median("latency", 1), ...way, median("ofPostgres", 0), each === 0 ? "" : median("ofNodes", 0)].join(" | ")} |`);
}

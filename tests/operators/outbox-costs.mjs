// What the outbox does in a second, and how long an event is on its way: out of transactions of pgbench, by
// two nodes, to a client of the official library. Not a test; it prints a table.
//
//   SWITCHBOARD_BIN=../../target/release/switchboard node outbox-costs.mjs [SECONDS]
//
// SECONDS: how long each row of the table is measured for; 10.
//
// Everything shares one machine. The times are from the call inside the transaction to the client, so the
// commit is in them. Postgres writes to the disk at every commit (`fsync=on`).

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
const [seconds] = process.argv.slice(2).map(Number).concat(10);
const PGBENCH = "/usr/lib/postgresql/15/bin/pgbench";

const ends = [];
const scene = { after: (end) => ends.push(end) };

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

const postgres = await PostgresServer.started({ settings: ["fsync=on", "shared_buffers=128MB"] });
const folder = await mkdtemp(join(tmpdir(), "outbox-costs-"));
try {
  const cluster = await Cluster.start(scene, { config: { store: { url: postgres.url }, outbox: { enabled: true } } });
  const client = await connected(open(cluster.servers.b));
  const times = [];
  let heard = 0;
  client.on("n", (sent) => {
    heard += 1;
    times.push(Date.now() - sent * 1000);
  });
  const nodes = ["a", "b"].map((name) => cluster.servers[name].process.pid);
  const main = Number(await postgres.sql("SELECT pid FROM pg_stat_activity WHERE backend_type = 'checkpointer'").then((pid) => readFile(`/proc/${pid}/stat`, "utf8")).then((stat) => stat.split(") ")[1].split(" ")[1]));
  const spent = async () => [await cpuOfPostgres(main), (await cpuOf(nodes[0])) + (await cpuOf(nodes[1]))];

  console.log("transactions            events/s    p50 ms    p99 ms   CPU of Postgres, of both nodes, µs an event");
  const emit = "SELECT switchboard_emit(jsonb_build_object('rooms', jsonb_build_array('r' || (random() * 1000)::int), 'all', true), 'n', jsonb_build_array(extract(epoch FROM clock_timestamp())))";
  for (const [name, sql, options, each] of [
    ["one event, 200 a second", `${emit};`, ["-c", "4", "-R", "200"], 1],
    ["one event, 1 client", `${emit};`, ["-c", "1"], 1],
    ["one event, 16 clients", `${emit};`, ["-c", "16"], 1],
    ["20 events, 8 clients", `${emit} FROM generate_series(1, 20);`, ["-c", "8"], 20],
    ["the same without emitting", "SELECT jsonb_build_object('rooms', jsonb_build_array('r' || (random() * 1000)::int));", ["-c", "16"], 0],
  ]) {
    const file = join(folder, "script.sql");
    await writeFile(file, sql);
    const [count, before, began] = [heard, await spent(), Date.now()];
    times.length = 0;
    const { stdout } = await exec(PGBENCH, ["-n", "-f", file, "-T", String(seconds), ...options, "-h", "127.0.0.1", "-p", String(postgres.port), "-U", "postgres", "postgres"]);
    const done = Number(/transactions actually processed: (\d+)/.exec(stdout)[1]) * each;
    await until(() => `${heard - count} of ${done}`, () => heard - count >= done, 60_000);
    const took = (Date.now() - began) / 1000;
    const after = await spent();
    const sorted = times.toSorted((a, b) => a - b);
    const [pg, node] = after.map((ms, n) => ((ms - before[n]) * 1000) / Math.max(done, 1));
    const rate = each ? (done / took).toFixed(0) : `${/tps = (\d+)/.exec(stdout)[1]} tps`;
    console.log(`${name.padEnd(26)}${rate.padStart(8)}${at(sorted, 0.5).toFixed(1).padStart(10)}${at(sorted, 0.99).toFixed(1).padStart(10)}${(each ? pg : NaN).toFixed(0).padStart(10)}${(each ? node : NaN).toFixed(0).padStart(8)}`);
  }
  client.close();
} finally {
  for (const end of ends.reverse()) await end();
  await postgres.end();
  await rm(folder, { recursive: true, force: true });
}

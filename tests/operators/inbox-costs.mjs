// What the inbox costs while the user is online: messages a second and processor time, with a file of SQLite
// and with Postgres, and how long a message is on its way, beside an emit that is not kept. Not a test; it
// prints a table.
//
//   SWITCHBOARD_BIN=../../target/release/switchboard node inbox-costs.mjs [seconds]
//
// One node; back end, devices, database and node share one machine. A message is kept by `POST
// /users/{id}/inbox` over connections that stay open, and acknowledged by a client of the official library. The
// times are from the request's start to the client's handler. Both databases write to the disk at every commit.

import { Agent, request } from "node:http";
import { mkdtemp, readFile, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";

import { connected, open } from "../clients/support/clients.mjs";
import { PostgresServer } from "../clients/support/postgres.mjs";
import { freePorts, serverFor } from "../clients/support/server.mjs";
import { SECRET, token } from "../clients/support/tokens.mjs";
import { until } from "../clients/support/waiting.mjs";

const [seconds] = process.argv.slice(2).map(Number).concat(8);
const USERS = 20;

const ends = [];
const scene = { after: (end) => ends.push(end) };

const at = (sorted, part) => sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * part))] ?? NaN;

/** Processor time of a process, in ms; with the children that have ended if it is to. */
async function cpuOf(pid, withChildren = false) {
  const fields = (await readFile(`/proc/${pid}/stat`, "utf8").catch(() => ") ")).split(") ")[1].split(" ");
  const own = Number(fields[11] ?? 0) + Number(fields[12] ?? 0);
  const children = withChildren ? Number(fields[13] ?? 0) + Number(fields[14] ?? 0) : 0;
  return (own + children) * 10;
}

const parentOf = async (pid) => Number((await readFile(`/proc/${pid}/stat`, "utf8").catch(() => ") ")).split(") ")[1].split(" ")[1]);

/** Processor time of Postgres and its children. */
async function cpuOfPostgres(main) {
  let sum = await cpuOf(main, true);
  for (const pid of (await readdir("/proc")).filter((name) => /^\d+$/.test(name))) {
    if ((await parentOf(pid)) === main) sum += await cpuOf(pid);
  }
  return sum;
}

/** A request whose answer is read to its end. Much cheaper than `fetch`. */
function post(agent, port, path, body) {
  return new Promise((done, failed) => {
    const headers = { "content-type": "application/json", "content-length": Buffer.byteLength(body) };
    const asked = request({ agent, host: "127.0.0.1", port, path, method: "POST", headers }, (answer) => {
      answer.resume();
      answer.on("end", () => (answer.statusCode === 202 ? done() : failed(new Error(`status ${answer.statusCode}`))));
    });
    asked.on("error", failed);
    asked.end(body);
  });
}

/** One way for events, to users that are all online: `send` is called over and over, `inFlight` at a time, or `rate` times a second. */
async function measure(send, { inFlight, rate }, heard, spent) {
  const until = Date.now() + seconds * 1000;
  let sent = 0;
  heard.times.length = 0;
  const [count, before, began] = [heard.count, await spent(), process.hrtime.bigint()];
  if (rate) {
    const all = [];
    for (let next = performance.now(); Date.now() < until; next += 1000 / rate) {
      await pause(Math.max(0, next - performance.now()));
      all.push(send(sent++));
    }
    await Promise.all(all);
  } else {
    const one = async () => {
      while (Date.now() < until) await send(sent++);
    };
    await Promise.all(Array.from({ length: inFlight }, one));
  }
  await heard.has(count + sent);
  const took = Number(process.hrtime.bigint() - began) / 1e9;
  const after = await spent();
  return { sent, rate: sent / took, cpu: after.map((ms, n) => ((ms - before[n]) * 1000) / sent), times: heard.times.toSorted((a, b) => a - b) };
}

function line(name, { rate, cpu: [node, postgres], times }) {
  const number = (value, width, digits = 0) => (Number.isFinite(value) ? value.toFixed(digits) : "–").padStart(width);
  console.log(`${name.padEnd(38)}${number(rate, 8)}${number(node, 10)}${number(postgres, 12)}${number(at(times, 0.5), 10, 2)}${number(at(times, 0.99), 10, 2)}`);
}

async function scenes(name, url, mainOfPostgres) {
  const [port] = await freePorts(1);
  const config = { admin_listen: `127.0.0.1:${port}`, auth: { hs256_secret: SECRET }, store: { url }, inbox: { enabled: true, max_messages: 0, max_bytes: "1GB" } };
  const server = await serverFor(scene, config);
  const heard = { count: 0, times: [], has: (count) => until(() => `${heard.count} of ${count}`, () => heard.count >= count, 60_000) };
  const sockets = [];
  for (let n = 0; n < USERS; n++) {
    const socket = await connected(open(server, { auth: { token: await token(`user ${n}`) } }));
    socket.on("n", (sent, done) => {
      heard.times.push(performance.now() - sent);
      heard.count += 1;
      if (typeof done === "function") done();
    });
    sockets.push(socket);
  }
  const agent = new Agent({ keepAlive: true, maxSockets: 256 });
  const keep = (n) => post(agent, port, `/api/v1/users/user%20${n % USERS}/inbox`, JSON.stringify({ event: "n", args: [performance.now()] }));
  const emit = (n) => post(agent, port, "/api/v1/emit", JSON.stringify({ users: [`user ${n % USERS}`], event: "n", args: [performance.now()] }));
  const spent = async () => [await cpuOf(server.process.pid), mainOfPostgres ? await cpuOfPostgres(mainOfPostgres) : NaN];
  // Devices become known, connections are made, code is compiled.
  await measure(keep, { inFlight: 8 }, heard, spent);
  await measure(emit, { inFlight: 8 }, heard, spent);
  for (const [how, pace] of [["200 a second", { rate: 200 }], ["1 at a time", { inFlight: 1 }], ["16 at a time", { inFlight: 16 }], ["128 at a time", { inFlight: 128 }]]) {
    line(`${name}: kept, ${how}`, await measure(keep, pace, heard, spent));
    line(`${name}: emitted only, ${how}`, await measure(emit, pace, heard, spent));
  }
  sockets.forEach((socket) => socket.close());
  agent.destroy();
  await server.stop?.();
}

const folder = await mkdtemp(join(tmpdir(), "inbox-costs-"));
const postgres = await PostgresServer.started({ settings: ["fsync=on", "shared_buffers=128MB"] });
try {
  console.log("                                      events/s   node µs   Postgres µs    p50 ms    p99 ms");
  await scenes("SQLite", `sqlite:${join(folder, "store.db")}`);
  const checkpointer = await postgres.sql("SELECT pid FROM pg_stat_activity WHERE backend_type = 'checkpointer'");
  await scenes("Postgres", postgres.url, await parentOf(checkpointer));
} finally {
  for (const end of ends.reverse()) await end();
  await postgres.end();
  await rm(folder, { recursive: true, force: true });
}

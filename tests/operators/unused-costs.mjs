// What an inbox and a history cost an emit that is not kept: the instructions of `bench_server` for an emit to a
// room of 100, without them and with them, counted by valgrind. Not a test; it prints a table. Instructions do
// not depend on what else the machine does, as times do.
//
//   BENCH_SERVER=../../target/release/examples/bench_server node unused-costs.mjs

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";

import { connected, open } from "../clients/support/clients.mjs";
import { freePorts } from "../clients/support/server.mjs";

const MEMBERS = 100;
const [FEW, MANY] = [100, 600];

const folder = await mkdtemp(join(tmpdir(), "unused-costs-"));

/** The instructions of a server in its whole life, with so many emits in it, one after the other. */
async function instructions(env, emits) {
  const [port] = await freePorts(1);
  const counts = join(folder, String(port));
  const command = ["--tool=callgrind", `--callgrind-out-file=${counts}`, process.env.BENCH_SERVER];
  const server = spawn("valgrind", command, { env: { ...process.env, ...env, PORT: port }, stdio: ["ignore", "pipe", "ignore"] });
  await once(server.stdout, "data");
  let [heard, all] = [0, () => {}];
  const members = [];
  for (let n = 0; n < MEMBERS; n++) {
    const member = await connected(open({ url: `http://127.0.0.1:${port}` }, { auth: { room: "r" } }), 60_000);
    member.on("e", () => ++heard % MEMBERS || all());
    members.push(member);
  }
  // The joins are done, and nothing waits for the first of them any more.
  await pause(1500);
  for (let n = 0; n < emits; n++) {
    const everybody = new Promise((done) => (all = done));
    members[0].emit("room:emit", { room: "r", event: "e", data: { text: "x".repeat(40), n: 1000 + n } });
    await everybody;
  }
  assert.equal(heard, emits * MEMBERS);
  server.kill("SIGINT");
  await once(server, "exit");
  members.forEach((member) => member.close());
  return Number(/^(?:summary|totals): (\d+)/m.exec(await readFile(counts, "utf8"))[1]);
}

try {
  for (const [name, env] of [["without", {}], ["with an inbox and a history", { STORE: "sqlite::memory:" }]]) {
    for (let round = 0; round < 2; round++) {
      const [few, many] = [await instructions(env, FEW), await instructions(env, MANY)];
      console.log(`${name.padEnd(30)}${Math.round((many - few) / (MANY - FEW))} instructions an emit to ${MEMBERS}`);
    }
  }
} finally {
  await rm(folder, { recursive: true, force: true });
}

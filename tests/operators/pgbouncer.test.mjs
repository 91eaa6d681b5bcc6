// The store and the outbox behind pgbouncer, in transaction mode: each statement may be on another connection to
// Postgres, and there are fewer of them than nodes want.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { chmod, mkdtemp, rm, writeFile } from "node:fs/promises";
import { createConnection } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { it } from "node:test";

import { connect } from "../clients/support/clients.mjs";
import { postgresFor } from "../clients/support/postgres.mjs";
import { freePorts, serverFor } from "../clients/support/server.mjs";
import { SECRET, token } from "../clients/support/tokens.mjs";
import { until } from "../clients/support/waiting.mjs";

async function bouncerFor(t, postgres) {
  const [port] = await freePorts(1);
  const folder = await mkdtemp(join(tmpdir(), "switchboard-pgbouncer-"));
  await chmod(folder, 0o755);
  await writeFile(join(folder, "users.txt"), '"postgres" ""\n', { mode: 0o644 });
  const settings = [
    "[databases]",
    `postgres = host=127.0.0.1 port=${postgres.port}`,
    "[pgbouncer]",
    "listen_addr = 127.0.0.1",
    `listen_port = ${port}`,
    "unix_socket_dir =",
    "auth_type = trust",
    `auth_file = ${join(folder, "users.txt")}`,
    "pool_mode = transaction",
    "default_pool_size = 2",
    "max_client_conn = 100",
  ];
  await writeFile(join(folder, "pgbouncer.ini"), settings.join("\n"), { mode: 0o644 });
  // It refuses to be root.
  const nobody = process.getuid() === 0 ? ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"] : [];
  const [program, ...args] = [...nobody, "/usr/sbin/pgbouncer", join(folder, "pgbouncer.ini")];
  const child = spawn(program, args, { stdio: "ignore" });
  t.after(async () => {
    child.kill("SIGKILL");
    await once(child, "exit");
    await rm(folder, { recursive: true, force: true });
  });
  await until("pgbouncer listens", () => {
    if (child.exitCode !== null) throw new Error(`pgbouncer has ended with ${child.exitCode}`);
    return new Promise((resolve) => {
      const socket = createConnection(port, "127.0.0.1", () => resolve(true)).once("error", () => resolve(false));
      socket.once("connect", () => socket.end());
    });
  });
  return `postgres://postgres@127.0.0.1:${port}/postgres`;
}

for (const [name, listens] of [["with a connection of its own to listen", true], ["by polling", false]]) {
  it(`keeps messages and sends events, ${name}`, async (t) => {
    const postgres = await postgresFor(t);
    const url = await bouncerFor(t, postgres);
    // By itself a node with partitions looks every 2 s then.
    const outbox = listens ? { enabled: true, listen_url: postgres.url, poll: "1h" } : { enabled: true };
    const [admin] = await freePorts(1);
    const config = { auth: { hs256_secret: SECRET }, admin_listen: `127.0.0.1:${admin}`, store: { url }, inbox: { enabled: true }, outbox };
    const node = await serverFor(t, config);
    if (listens) {
      const metrics = () => fetch(`http://127.0.0.1:${admin}/metrics`).then((answer) => answer.text());
      await until("it listens", async () => (await metrics()).includes("\nswitchboard_outbox_listens 1"));
    }
    const heard = [];
    await connect(t, node, {
      auth: { token: await token("ada") },
      onOpen: (socket) => socket.on("n", (n, done) => { heard.push(n); done?.(); }),
    });
    const writers = [0, 1, 2].map(async (writer) => {
      for (let n = 0; n < 20; n++) {
        const target = JSON.stringify(n % 2 ? { users: ["ada"] } : { users: ["ada"], kept: true });
        await postgres.sql(`SELECT switchboard_emit('${target}', 'n', '[${writer * 100 + n}]')`, { url });
      }
    });
    await Promise.all(writers);
    await until(() => `${heard.length} of 60`, () => heard.length >= 60);
    assert.deepEqual(heard.toSorted((a, b) => a - b), [0, 1, 2].flatMap((writer) => Array.from({ length: 20 }, (_, n) => writer * 100 + n)));
  });
}

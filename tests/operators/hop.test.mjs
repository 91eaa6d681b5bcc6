// Three nodes behind a real HAProxy that sends each request to the next one, and many real clients: nobody is
// turned away, whatever the transport.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, it } from "node:test";

import { ack, connected, open, upgraded } from "../clients/support/clients.mjs";
import { hopsOf, nodesFor, sentOf } from "../clients/support/hop.mjs";
import { freePorts } from "../clients/support/server.mjs";
import { until } from "../clients/support/waiting.mjs";

const CLIENTS = 200;
const ROUNDS = 20;

/** HAProxy as simple as can be. `rule`: more lines of its backend. */
async function haproxyFor(t, nodes, rule = "") {
  const dir = await mkdtemp(join(tmpdir(), "switchboard-haproxy-"));
  t.after(() => rm(dir, { recursive: true, force: true }));
  const [port] = await freePorts(1);
  const file = join(dir, "haproxy.cfg");
  const servers = Object.entries(nodes).map(([name, node]) => `  server ${name} 127.0.0.1:${node.port}\n`).join("");
  await writeFile(file, `defaults\n  mode http\n  timeout connect 2s\n  timeout client 60s\n  timeout server 60s\n  timeout tunnel 60s\nfrontend clients\n  bind 127.0.0.1:${port}\n  default_backend nodes\nbackend nodes\n  balance roundrobin\n${rule}${servers}`);
  const child = spawn("haproxy", ["-db", "-f", file], { stdio: ["ignore", "inherit", "inherit"] });
  t.after(() => child.kill("SIGTERM"));
  const front = { url: `http://127.0.0.1:${port}` };
  await until("haproxy passes requests on", () => fetch(`${front.url}/socket.io/?EIO=4&transport=polling`).then(({ ok }) => ok, () => false));
  return front;
}

/** All of a crowd, connected, and what has gone wrong with them since. */
async function crowd(t, front, transports) {
  const failures = [];
  const sockets = [];
  for (let left = CLIENTS; left > 0; left -= 50) {
    // In parts: all of them come from this one process.
    sockets.push(...await Promise.all(Array.from({ length: Math.min(left, 50) }, async () => {
      const socket = open(front, { transports });
      t.after(() => socket.close());
      await connected(socket, 60_000);
      socket.on("disconnect", (reason) => failures.push(reason));
      return transports.length > 1 ? upgraded(socket) : socket;
    })));
  }
  return { sockets, failures };
}

describe("three nodes behind an HAProxy that is not sticky", { concurrency: 1 }, () => {
  const kinds = { "polling only": ["polling"], "polling, then upgraded": ["polling", "websocket"], "websocket only": ["websocket"] };
  for (const [kind, transports] of Object.entries(kinds)) {
    it(`serve ${CLIENTS} clients, ${kind}`, { timeout: 300_000 }, async (t) => {
      const { nodes } = await nodesFor(t);
      const front = await haproxyFor(t, nodes);
      const { sockets, failures } = await crowd(t, front, transports);
      for (let round = 0; round < ROUNDS; round++) {
        await Promise.all(sockets.map(async (socket) => assert.equal(await ack(socket, "events", round), round)));
      }
      assert.deepEqual(failures, []);
      const hops = await Promise.all(Object.values(nodes).map(hopsOf));
      for (const of of hops) for (const [name, count] of Object.entries(of)) if (name.startsWith("switchboard_requests_refused_total")) assert.equal(count, 0, name);
      for (const outcome of ["gone", "timed_out", "suspect", "broken", "foreign", "busy", "abandoned"]) assert.equal(hops.reduce((sum, of) => sum + sentOf(of, outcome), 0), 0, outcome);
      const forwarded = hops.reduce((sum, of) => sum + sentOf(of, "answered"), 0);
      const tunnels = hops.reduce((sum, of) => sum + of.switchboard_hop_tunnels, 0);
      t.diagnostic(`${CLIENTS * ROUNDS} acknowledgements, ${forwarded} requests forwarded, ${tunnels} websockets passed on, nothing refused`);
      assert.equal(forwarded > 0, transports[0] === "polling");
    });
  }

  it("forward nothing where HAProxy routes by the session id", { timeout: 300_000 }, async (t) => {
    const { nodes } = await nodesFor(t);
    const rule = Object.keys(nodes).map((name) => `  use-server ${name} if { url_param(sid) -m beg ${name}. }\n`).join("");
    const front = await haproxyFor(t, nodes, rule);
    const { sockets, failures } = await crowd(t, front, ["polling", "websocket"]);
    await Promise.all(sockets.map(async (socket) => assert.equal(await ack(socket, "events", 1), 1)));
    assert.deepEqual(failures, []);
    const hops = await Promise.all(Object.values(nodes).map(hopsOf));
    assert.equal(hops.reduce((sum, of) => sum + sentOf(of, "answered"), 0), 0);
  });
});

// The kinds of Redis that operators run, each for real: behind an address that is moved, with Sentinels, as
// a cluster of six; and traffic in both directions between two servers that use it.

import { execFile, spawn } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { connect as connectTcp } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";

import { connected, open } from "../clients/support/clients.mjs";
import { redisFor } from "../clients/support/redis.mjs";
import { freePorts, retryingBusyPorts } from "../clients/support/server.mjs";
import { Stream } from "../clients/support/steady.mjs";
import { until } from "../clients/support/waiting.mjs";

const exec = promisify(execFile);
const running = new Set();
process.on("exit", () => {
  for (const child of running) child.kill("SIGKILL");
});

/** A program that runs until the test `t` is over. */
function runFor(t, program, args) {
  const child = spawn(program, args.map(String), { stdio: ["ignore", "pipe", "pipe"] });
  child.said = "";
  running.add(child);
  for (const stream of [child.stdout, child.stderr]) stream.on("data", (chunk) => (child.said += chunk));
  child.once("error", (error) => (child.said += error.message));
  child.once("close", () => running.delete(child));
  t.after(() => child.kill("SIGKILL") && new Promise((done) => (running.has(child) ? child.once("close", done) : done())));
  return child;
}

async function directoryFor(t) {
  const dir = await mkdtemp(join(tmpdir(), "switchboard-operators-"));
  t.after(() => rm(dir, { recursive: true, force: true }));
  return dir;
}

/**
 * One address, as a managed Redis, a virtual address or a Kubernetes Service has it: haproxy, which passes
 * TCP on to the port that it is pointed at. Connections that are open stay where they are.
 */
export async function addressFor(t, port) {
  return retryingBusyPorts(async () => {
    const dir = await directoryFor(t);
    const [own] = await freePorts(1);
    const [file, socket] = [join(dir, "haproxy.cfg"), join(dir, "admin")];
    await writeFile(file, `global
  stats socket ${socket} level admin
defaults
  mode tcp
  timeout connect 2s
  timeout client 1h
  timeout server 1h
listen redis
  bind 127.0.0.1:${own}
  server one 127.0.0.1:${port}
`);
    const child = runFor(t, "haproxy", ["-db", "-f", file]);
    const say = (command) => new Promise((answered, failed) => {
      let answer = "";
      const connection = connectTcp(socket, () => connection.end(`${command}\n`));
      connection.on("data", (chunk) => (answer += chunk));
      connection.on("error", failed);
      connection.on("close", () => answered(answer));
    });
    await until("haproxy runs", () => {
      if (child.exitCode !== null) throw new Error(`haproxy has ended with ${child.exitCode}: ${child.said}`);
      return say("show info").catch(() => false);
    });
    return {
      port: own,
      url: `redis://127.0.0.1:${own}`,
      /** New connections go there from now on; with `cutting` those that are open are closed. */
      async pointTo(port, { cutting = false } = {}) {
        await say(`set server redis/one addr 127.0.0.1 port ${port}`);
        if (cutting) await say("shutdown sessions server redis/one");
      },
    };
  });
}

/** A replica of a master (both `RedisServer`s), once it is in step. */
export async function replicaFor(t, master) {
  const replica = await redisFor(t, { args: ["--replicaof", "127.0.0.1", String(master.port)] });
  await until("the replica is in step", async () => (await replica.cli("ROLE"))[3] === "connected", 15_000);
  return replica;
}

/** A master, a replica and a Sentinel that watches them under the name `main`. */
export async function sentinelFor(t, { downAfter = 500 } = {}) {
  const master = await redisFor(t);
  const replica = await replicaFor(t, master);
  const sentinel = await retryingBusyPorts(async () => {
    const dir = await directoryFor(t);
    const [port] = await freePorts(1);
    const file = join(dir, "sentinel.conf");
    await writeFile(file, `port ${port}
bind 127.0.0.1
dir ${dir}
sentinel monitor main 127.0.0.1 ${master.port} 1
sentinel down-after-milliseconds main ${downAfter}
sentinel failover-timeout main 3000
`);
    const child = runFor(t, "redis-sentinel", [file]);
    await until("the Sentinel knows the replica", async () => {
      if (child.exitCode !== null) throw new Error(`redis-sentinel has ended with ${child.exitCode}: in use?`);
      const { stdout } = await exec("redis-cli", ["-p", String(port), "-3", "--json", "SENTINEL", "REPLICAS", "main"]).catch(() => ({ stdout: "[]" }));
      return JSON.parse(stdout).length === 1;
    }, 30_000);
    return { port, cli: (...command) => exec("redis-cli", ["-p", String(port), ...command.map(String)]) };
  });
  return { master, replica, sentinel, url: `redis+sentinel://127.0.0.1:${sentinel.port}/main` };
}

/** A Redis Cluster: three masters and, unless `replicas` is 0, three replicas. */
export class RedisCluster {
  nodes = [];

  static async start(t, { replicas = 1, args = [], timeout = 1000 } = {}) {
    const cluster = new RedisCluster();
    const settings = ["--cluster-enabled", "yes", "--cluster-node-timeout", String(timeout), ...args];
    for (let count = 0; count < 3 * (1 + replicas); count++) cluster.nodes.push(await redisFor(t, { args: settings }));
    const addresses = cluster.nodes.map(({ port }) => `127.0.0.1:${port}`);
    await cluster.manage("create", ...addresses, "--cluster-replicas", replicas);
    await cluster.whole();
    return cluster;
  }

  /** `redis-cli --cluster …`; it asks nothing. */
  async manage(...command) {
    const { stdout } = await exec("redis-cli", ["--cluster", ...command.map(String), "--cluster-yes"], { timeout: 60_000 });
    return stdout;
  }

  /** For `redis.url`. */
  get url() {
    return this.nodes.slice(0, 3).map(({ url }) => url).join(",");
  }

  /** Waits until all of `nodes` agree that every slot is served, and on who there is. */
  async whole(nodes = this.nodes) {
    for (const node of nodes) {
      await until("the cluster is whole", async () => {
        const info = await node.text("CLUSTER", "INFO");
        return info.includes("cluster_state:ok") && info.includes(`cluster_known_nodes:${nodes.length}`);
      }, 30_000);
    }
  }

  /** Each node with its id, its role and its slots, as `asked` sees it. */
  async members(asked = this.nodes[0]) {
    const lines = (await asked.text("CLUSTER", "NODES")).trim().split("\n");
    return lines.map((line) => {
      const [id, address, flags, , , , , , ...slots] = line.split(" ");
      const port = Number(address.split("@")[0].split(":")[1]);
      return { id, isMaster: flags.includes("master"), slots, node: this.nodes.find((node) => node.port === port) };
    });
  }
}

export async function redisClusterFor(t, options) {
  return RedisCluster.start(t, options);
}

/** A client that comes back by itself, as in real life; `cuts` counts how often it was cut off. */
export async function lastingFor(t, server, options = {}) {
  const socket = open(server, { reconnection: true, reconnectionDelay: 50, reconnectionDelayMax: 200, ...options });
  t.after(() => socket.close());
  socket.cuts = 0;
  socket.on("disconnect", () => socket.cuts++);
  return connected(socket);
}

/**
 * Numbers each 20 ms in both directions between two servers, of whichever kind. What is `missing` is counted for
 * each direction when it is over; doubled or out of order is an error.
 */
export class Traffic {
  static async start(t, [first, second], { every = 20 } = {}) {
    const traffic = new Traffic();
    traffic.sockets = [await lastingFor(t, first), await lastingFor(t, second)];
    const [a, b] = traffic.sockets;
    traffic.streams = [await Stream.start(t, a, { b }, { every }), await Stream.start(t, b, { a }, { every })];
    await traffic.flows();
    return traffic;
  }

  /** Waits until what is sent from now on arrives, in both directions; after how many ms it did. */
  async flows(deadline = 15_000) {
    const [there, back] = this.streams;
    return Promise.all([there.flows("b", deadline), back.flows("a", deadline)]);
  }

  /** How often a client was cut off. */
  get cuts() {
    return this.sockets.map(({ cuts }) => cuts);
  }

  /** Stops and counts: `{ sent, missing, cuts }`, of each direction or client. */
  async result(options) {
    const [there, back] = this.streams;
    await Promise.all([there.stop(), back.stop()]);
    const missing = [await there.missing("b", options), await back.missing("a", options)];
    return { sent: [there.sent, back.sent], missing, cuts: this.cuts };
  }
}

/** Why the node is not ready; nothing if it is. */
export async function troubles(server) {
  const response = await server.get("/readyz");
  return response.status === 200 ? [] : (await response.json()).reasons;
}

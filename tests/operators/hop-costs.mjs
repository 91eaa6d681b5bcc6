// What a hop costs: the latency that it adds, and the processor time and memory that a websocket takes on the
// node that passes it on. Not a test; it prints a table.
//
//   SWITCHBOARD_BIN=../../target/release/switchboard node hop-costs.mjs
//
// The clients share the machine with the nodes, so latencies are for comparing the ways, measured in turn.

import { Agent, request } from "node:http";
import { createRequire } from "node:module";
import { readFile } from "node:fs/promises";
import { join } from "node:path";

import { nodesFor } from "../clients/support/hop.mjs";
import { rawSession } from "../clients/support/raw.mjs";
import { memoryOf } from "../clients/support/server.mjs";
import { until } from "../clients/support/waiting.mjs";

const { WebSocket } = createRequire(join(import.meta.dirname, "../clients/package.json"))("ws");

const ends = [];
const scene = { after: (end) => ends.push(end) };

const at = (sorted, part) => sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * part))];
const shown = (times) => {
  const sorted = times.toSorted((a, b) => a - b);
  return `p50 ${at(sorted, 0.5).toFixed(3)} ms, p99 ${at(sorted, 0.99).toFixed(3)} ms`;
};

/** The processor time that a node has taken, in µs. */
async function cpuOf({ process: { pid } }) {
  const fields = (await readFile(`/proc/${pid}/stat`, "utf8")).split(") ")[1].split(" ");
  return (Number(fields[11]) + Number(fields[12])) * 10_000;
}

/** A session on `owner` that has joined the main namespace. */
async function joined(owner) {
  const session = await rawSession(owner);
  await (await session.post("40")).text();
  await (await session.poll()).text();
  return session;
}

/** A websocket of the session, by way of this node. */
async function upgrade(node, { sid }) {
  const ws = new WebSocket(`ws://127.0.0.1:${node.port}/socket.io/?EIO=4&transport=websocket&sid=${sid}`, { perMessageDeflate: false });
  const heard = (fits) => new Promise((resolve) => {
    ws.on("message", function listener(data) {
      const text = data.toString();
      if (!fits(text)) return;
      ws.off("message", listener);
      resolve(text);
    });
  });
  ws.on("message", (data) => data.toString() === "2" && ws.send("3"));
  await new Promise((resolve, reject) => ws.once("open", resolve).once("error", reject));
  const probed = heard((text) => text === "3probe");
  ws.send("2probe");
  await probed;
  ws.send("5");
  return { ws, heard };
}

function post(agent, node, sid, body) {
  return new Promise((resolve, reject) => {
    const sent = request({ port: node.port, host: "127.0.0.1", agent, method: "POST", path: `/socket.io/?EIO=4&transport=polling&sid=${sid}`, headers: { "content-type": "text/plain;charset=UTF-8", "content-length": Buffer.byteLength(body) } }, (response) => {
      response.resume().on("end", () => (response.statusCode === 200 ? resolve() : reject(new Error(`${response.statusCode}`))));
    });
    sent.on("error", reject).end(body);
  });
}

async function latencies({ n1, n2 }) {
  const ways = { direct: n1, forwarded: n2 };
  const agents = { direct: new Agent({ keepAlive: true, maxSockets: 1 }), forwarded: new Agent({ keepAlive: true, maxSockets: 1 }) };
  const posts = { direct: [], forwarded: [] };
  const { sid } = await joined(n1);
  for (let round = 0; round < 3_300; round++) {
    for (const [way, node] of Object.entries(ways)) {
      const since = performance.now();
      await post(agents[way], node, sid, "3");
      if (round >= 300) posts[way].push(performance.now() - since);
    }
  }
  for (const agent of Object.values(agents)) agent.destroy();
  for (const [way, times] of Object.entries(posts)) console.log(`POST, ${way}: ${shown(times)}`);
  const acks = { direct: [], forwarded: [] };
  const sockets = {};
  for (const [way, node] of Object.entries(ways)) sockets[way] = await upgrade(node, await joined(n1));
  for (let round = 0; round < 3_300; round++) {
    for (const [way, { ws, heard }] of Object.entries(sockets)) {
      const answered = heard((text) => text.startsWith(`43${round}[`));
      const since = performance.now();
      ws.send(`42${round}["events","x"]`);
      await answered;
      if (round >= 300) acks[way].push(performance.now() - since);
    }
  }
  for (const { ws } of Object.values(sockets)) ws.terminate();
  for (const [way, times] of Object.entries(acks)) console.log(`acknowledgement by websocket, ${way}: ${shown(times)}`);
}

async function costs(nodes, way) {
  const { n1, n2 } = nodes;
  const [clients, events] = [500, 200];
  const before = { n1: await memoryOf(n1), n2: await memoryOf(n2) };
  const sockets = [];
  for (let count = 0; count < clients; count++) sockets.push((await upgrade(nodes[way === "direct" ? "n1" : "n2"], await joined(n1))).ws);
  const memory = (await memoryOf(n2)) - before.n2;
  const own = (await memoryOf(n1)) - before.n1;
  let heard = 0;
  for (const ws of sockets) ws.on("message", (data) => data.toString().startsWith('42["tick"') && heard++);
  const data = "x".repeat(200);
  const cpu = { n1: await cpuOf(n1), n2: await cpuOf(n2) };
  for (let event = 1; event <= events; event++) {
    const answer = await fetch(`http://127.0.0.1:${n1.adminPort}/api/v1/emit`, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify({ all: true, event: "tick", args: [data] }) });
    if (answer.status !== 202) throw new Error(await answer.text());
    // One after the other, so that each is a write of its own.
    await until("all have heard it", () => heard >= event * clients);
  }
  const of = async (name) => ((await cpuOf(nodes[name])) - cpu[name]) / (events * clients);
  console.log(`${clients} websockets, ${way}: the session's node ${(await of("n1")).toFixed(2)} µs and ${(own * 1024 / clients).toFixed(1)} kB, the other node ${(await of("n2")).toFixed(2)} µs for each delivered event and ${(memory * 1024 / clients).toFixed(1)} kB for each websocket`);
  for (const ws of sockets) ws.terminate();
}

for (const part of [latencies, (nodes) => costs(nodes, "direct"), (nodes) => costs(nodes, "passed on")]) {
  const { nodes } = await nodesFor(scene, { count: 2, config: { log: { level: "warn" } } });
  await part(nodes);
  for (const end of ends.splice(0).reverse()) await end();
}

// A crowd that stays: clients of all transports that talk in one room while nodes come and go. Each
// second says who is where. Kill a node and watch. Exit code 0 only if, at the end, all hear each other.

import { parseArgs } from "node:util";
import { io } from "socket.io-client";

const HELP = `Usage: node crowd.mjs [--clients 12] [--seconds 60] [URL …]

Connects clients (websocket, polling, and polling that upgrades, in turn) to Switchboard servers, spread
over the URLs in turn, and reports each second on which nodes they are and what they heard.

  URL            default http://localhost:3000
  --clients N    default 12
  --seconds N    how long the crowd stays; default 60

Exit codes: 0 at the end all were connected and heard each other, 1 they did not, 2 bad usage.`;

const TRANSPORTS = [["websocket"], ["polling"], ["polling", "websocket"]];
const PATIENCE = 5_000; // for one acknowledgement
const ROLL_CALL = 20_000; // for all to be back and to hear each other, at the end
const ROOM = `public:crowd-${crypto.randomUUID().slice(0, 8)}`;

const options = readOptions();
const counts = { published: 0, heard: 0, unanswered: 0, left: 0 };
const clients = Array.from({ length: options.clients }, (_, number) => client(number));

const started = Date.now();
while (Date.now() - started < options.seconds * 1_000) {
  await pause(1_000);
  for (const each of clients) if (each.node) publish(each, "tick");
  report(`${Math.round((Date.now() - started) / 1_000)} s`);
}
const missing = await rollCall();
report("end");
for (const { socket } of clients) socket.off("disconnect").close();
if (missing.length) console.error(`Not as hoped:\n${missing.map((line) => `  - ${line}`).join("\n")}`);
else console.log(`All ${clients.length} are connected and hear each other.`);
process.exit(missing.length ? 1 : 0);

function client(number) {
  const transports = TRANSPORTS[number % TRANSPORTS.length];
  const socket = io(options.urls[number % options.urls.length], { forceNew: true, transports, reconnectionDelayMax: 2_000 });
  const self = { name: `${number} (${transports.join(", ")})`, number, socket, node: null, hears: new Set() };
  socket.on("connect", async () => {
    try {
      await socket.timeout(PATIENCE).emitWithAck("join", ROOM);
      self.node = (await socket.timeout(PATIENCE).emitWithAck("whoami")).node;
    } catch {
      // cut before the answer: "connect" comes again
    }
  });
  socket.on("disconnect", (reason) => {
    self.node = null;
    counts.left++;
    console.log(`  ${self.name} was cut: ${reason}`);
  });
  socket.on("connect_error", (error) => console.log(`  ${self.name} is not let in: ${error.description?.message || error.message}`));
  socket.on("tick", () => counts.heard++);
  socket.on("roll", ({ data }) => self.hears.add(data));
  return self;
}

function publish({ number, socket }, event) {
  counts.published++;
  return socket.timeout(PATIENCE).emitWithAck("publish", { room: ROOM, event, data: number }).catch(() => counts.unanswered++);
}

/** Asks until each has heard each other, or time is up; returns what is missing. */
async function rollCall() {
  for (const end = Date.now() + ROLL_CALL; ; ) {
    await Promise.all(clients.filter(({ node }) => node).map((each) => publish(each, "roll")));
    await pause(200);
    const missing = clients.flatMap(({ name, node, number, hears }) => {
      if (!node) return [`${name} is not connected`];
      const deafTo = clients.filter((other) => other.number !== number && !hears.has(other.number));
      return deafTo.length ? [`${name} does not hear ${deafTo.map((other) => other.number).join(", ")}`] : [];
    });
    if (!missing.length || Date.now() > end) return missing;
  }
}

function report(when) {
  const nodes = new Map();
  for (const { node } of clients) if (node) nodes.set(node, (nodes.get(node) ?? 0) + 1);
  const where = [...nodes].map(([node, there]) => `${node}: ${there}`).sort().join(", ");
  console.log(`${when.padStart(5)}  on ${where || "no node"}; published ${counts.published}, heard ${counts.heard}, unanswered ${counts.unanswered}, cut ${counts.left}`);
}

function pause(ms) {
  return new Promise((done) => setTimeout(done, ms));
}

function readOptions() {
  try {
    const { values, positionals } = parseArgs({
      allowPositionals: true,
      options: { clients: { type: "string", default: "12" }, seconds: { type: "string", default: "60" }, help: { type: "boolean", short: "h" } },
    });
    if (values.help) {
      console.log(HELP);
      process.exit(0);
    }
    const [clients, seconds] = [values.clients, values.seconds].map(Number);
    if (![clients, seconds].every((n) => Number.isSafeInteger(n) && n > 0)) throw new Error("--clients and --seconds take whole numbers above 0");
    for (const url of positionals) if (!URL.canParse(url) || !/^https?:/.test(url)) throw new Error(`${url} is no http URL`);
    return { urls: positionals.length ? positionals : ["http://localhost:3000"], clients, seconds };
  } catch (error) {
    console.error(`${error.message}\n\n${HELP}`);
    process.exit(2);
  }
}

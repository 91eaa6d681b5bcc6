// Servers of the other kind: real `socket.io` in Node.js, alone or with the official Redis adapters.
//
// Each is a process of its own, because a frame that it cannot digest ends a process: that it lives
// is half of what the tests want to know. A test tells it what to do in its own words, see `run`.

import { fork } from "node:child_process";
import { once } from "node:events";
import { createServer } from "node:http";
import { after } from "node:test";

import { instrument } from "@socket.io/admin-ui";
import { createAdapter, createShardedAdapter } from "@socket.io/redis-adapter";
import { createAdapter as createStreamsAdapter } from "@socket.io/redis-streams-adapter";
import { Redis } from "ioredis";
import { createClient } from "redis";
import { Server } from "socket.io";
import * as msgpackParser from "socket.io-msgpack-parser";

import { within } from "./waiting.mjs";

export class NodeServer {
  #child;
  #asked = new Map();
  #last = 0;
  logs = "";

  /**
   * `adapter`: classic, sharded, streams or memory; `client`: the package that speaks to Redis, `redis` or `ioredis`;
   * `mode`: the sharded adapter's; `specific`: the classic adapter's publishOnSpecificResponseChannel;
   * `admin`: the options with which the Admin UI instruments it; `streams`: those of the streams
   * adapter; `parser`: `msgpack`, or the usual one; `io`: more of the server's own options, such as
   * `connectionStateRecovery`.
   */
  static async start({ redis, adapter = "classic", client = "redis", mode = "dynamic", specific = false, admin, streams, parser, io }) {
    const server = new NodeServer();
    const options = JSON.stringify({ redis, adapter, client, mode, specific, admin, streams, parser, io });
    server.#child = fork(import.meta.filename, [options], { serialization: "advanced", stdio: ["ignore", "pipe", "pipe", "ipc"], execArgv: [] });
    server.#child.stdout.on("data", (chunk) => (server.logs += chunk));
    server.#child.stderr.on("data", (chunk) => (server.logs += chunk));
    server.#child.once("exit", (code, signal) => {
      server.ended = { code, signal };
      const error = new Error(`the Node.js server has ended: ${JSON.stringify(server.ended)}\n${server.logs}`);
      for (const { reject } of server.#asked.values()) reject(error);
    });
    server.#child.on("message", ({ id, value, error }) => {
      const { resolve, reject } = server.#asked.get(id) ?? {};
      server.#asked.delete(id);
      if (error) reject?.(Object.assign(new Error(error.message), { responses: error.responses }));
      else resolve?.(value);
    });
    server.port = await server.run((io) => io.httpServer.address().port);
    server.url = `http://127.0.0.1:${server.port}`;
    return server;
  }

  /**
   * Runs a function in the server's process, with its `io` and the arguments given here. It sees
   * nothing of the test that it is written in.
   */
  run(script, ...args) {
    if (this.ended) throw new Error(`the Node.js server has ended: ${JSON.stringify(this.ended)}\n${this.logs}`);
    const id = ++this.#last;
    const answer = new Promise((resolve, reject) => this.#asked.set(id, { resolve, reject }));
    this.#child.send({ id, script: script.toString(), args });
    return within(15_000, `the Node.js server does ${script}`, answer);
  }

  async kill() {
    if (this.ended) return;
    this.#child.kill("SIGKILL");
    await once(this.#child, "exit");
  }
}

/** A server that has started, ended after the test `t` or, without one, after the test file. */
export async function nodeFor(t, options) {
  const server = await NodeServer.start(options);
  (t?.after.bind(t) ?? after)(() => server.kill());
  return server;
}

async function connection({ redis, client }) {
  const made = client === "ioredis" ? new Redis(redis) : createClient({ url: redis });
  // That Redis is away is for the test to know; the packages come back by themselves.
  made.on("error", () => {});
  if (client === "redis") await made.connect();
  return made;
}

/** What the option `adapter` of the server becomes; none in memory. */
async function adapterOf(options) {
  switch (options.adapter) {
    case "memory": return undefined;
    case "streams": return createStreamsAdapter(await connection(options), options.streams);
    case "sharded": return createShardedAdapter(await connection(options), await connection(options), { subscriptionMode: options.mode });
    default: return createAdapter(await connection(options), await connection(options), { publishOnSpecificResponseChannel: options.specific, requestsTimeout: 2_000 });
  }
}

async function serve(options) {
  const adapter = await adapterOf(options);
  const http = createServer();
  const io = new Server(http, { ...(adapter && { adapter }), ...(options.parser === "msgpack" && { parser: msgpackParser }), serveClient: false, ...options.io });
  io.on("connection", gateway);
  if (options.admin) instrument(io, options.admin);
  await new Promise((listening) => http.listen(0, "127.0.0.1", listening));
  process.on("message", async ({ id, script, args }) => {
    try {
      const value = await new Function(`return (${script})`)()(io, ...args);
      process.send({ id, value: typeof value === "object" || typeof value !== "function" ? value : undefined });
    } catch (error) {
      process.send({ id, error: { message: error.message, responses: error.responses } });
    }
  });
}

// The same events as Switchboard's built-in gateway has, so that a client need not know where it is.
function gateway(socket) {
  const answer = (ack, value) => typeof ack === "function" && ack(value);
  if (socket.handshake.auth.rooms) socket.join(socket.handshake.auth.rooms);
  const user = userOf(socket.handshake.auth.token);
  if (user) socket.join([`user:${user}`, "authenticated"]);
  socket.on("join", (room, ack) => {
    socket.join(room);
    answer(ack, { ok: true, room });
  });
  socket.on("leave", (room, ack) => {
    socket.leave(room);
    answer(ack, { ok: true, room });
  });
  socket.on("publish", ({ room, event = "message", data }, ack) => {
    socket.to(room).emit(event, { room, from: null, data });
    answer(ack, { ok: true });
  });
  socket.on("events", (...args) => {
    const ack = typeof args.at(-1) === "function" ? args.pop() : undefined;
    (user ? socket.nsp.to(`user:${user}`) : socket).emit("events", ...args);
    answer(ack, args[0]);
  });
  socket.on("whoami", (ack) => answer(ack, { user, socket: socket.id, rooms: [...socket.rooms] }));
}

/** Whose token it is. Who may have signed it does not matter here. */
const userOf = (token) => (token ? JSON.parse(Buffer.from(token.split(".")[1], "base64url")).sub : null);

if (process.argv[1] === import.meta.filename) {
  process.on("disconnect", () => process.exit());
  await serve(JSON.parse(process.argv[2]));
}

// Between client and server, below HTTP: TCP proxies that are as unkind as networks can be.

import { once } from "node:events";
import { connect, createServer } from "node:net";
import { pipeline } from "node:stream";
import { setImmediate as turn } from "node:timers/promises";

import { disconnected } from "./clients.mjs";
import { until } from "./waiting.mjs";

/** A proxy that listens, with the `url` for clients; `serve(client)` gets each new connection. */
async function listening(t, serve) {
  const open = new Set();
  const keep = (socket) => {
    open.add(socket);
    socket.on("error", () => {}); // it is followed by "close", which tells the same
    socket.on("close", () => open.delete(socket));
    return socket;
  };
  const proxy = createServer((client) => serve(keep(client), keep)).listen(0, "127.0.0.1");
  await once(proxy, "listening");
  t.after(() => {
    proxy.close();
    for (const socket of open) socket.destroy();
  });
  return { url: `http://127.0.0.1:${proxy.address().port}` };
}

/** Passes all bytes on in pieces of 1 to 7, in both directions, each in a packet of its own. */
export function choppingProxy(t, server) {
  let pieces = 0;
  async function chop(from, to) {
    try {
      for await (const chunk of from) {
        for (let at = 0; at < chunk.length; ) {
          const size = 1 + ((pieces++ * 3) % 7); // 1, 4, 7, 3, 6, 2, 5
          to.write(chunk.subarray(at, at + size));
          at += size;
          await turn(); // else the kernel would join them again
        }
      }
      to.end();
    } catch {
      to.destroy();
    }
  }
  return listening(t, (client, keep) => {
    const upstream = keep(connect({ port: server.port, host: "127.0.0.1", noDelay: true }));
    client.setNoDelay(true);
    // Not tied: when one end closes, its last bytes are still on their way to the other.
    chop(client, upstream);
    chop(upstream, client);
  });
}

/**
 * A load balancer for clients that use a connection for each request: who names a session goes to
 * the node that is named in the session's id, everybody else to the `target` of that moment. `nodes`
 * are the servers by their `node_id`.
 */
export async function balancer(t, nodes, target) {
  const front = await listening(t, async (client, keep) => {
    let head = Buffer.alloc(0);
    while (!head.includes("\r\n")) {
      const [chunk] = await once(client, "data").catch(() => []);
      if (!chunk) return; // it has left without a word
      head = Buffer.concat([head, chunk]);
    }
    client.pause();
    const [, node] = /[?&]sid=([^.&\s]+)\./.exec(head.toString("latin1").split("\r\n")[0]) ?? [];
    const { port } = nodes[node] ?? front.target;
    const upstream = keep(connect({ port, host: "127.0.0.1", noDelay: true }));
    upstream.write(head);
    pipeline(client, upstream, client, () => {}); // the end of one is the end of both
  });
  return Object.assign(front, { target });
}

/**
 * A network between two programs that can fail, to the port `front.target` of this moment. `stall()`:
 * nothing is forwarded any more, in either direction, and nobody is told, as when a cable is pulled or a
 * firewall forgets its connections. `flow()`: what was held back goes on. `cut(how)` ends every
 * connection in one of the `CUTS`. What is sent over a connection takes `front.delay` milliseconds to
 * arrive, as it was when the connection was made.
 */
export async function network(t, port, { delay = 0 } = {}) {
  let stalled = false;
  const pairs = new Set();
  const front = await listening(t, (client, keep) => {
    const upstream = keep(connect({ port: front.target, host: "127.0.0.1", noDelay: true }));
    client.setNoDelay(true);
    const pair = { client, upstream, torn: false };
    pairs.add(pair);
    const later = front.delay;
    for (const [from, to] of [[client, upstream], [upstream, client]]) {
      // Each chunk is passed on by hand: `pipe` would resume by itself what `stall` has paused.
      const pass = (chunk) => {
        if (pair.torn && from === upstream) {
          to.write(chunk.subarray(0, chunk.length - 1), () => CUTS.reset(pair));
          pair.torn = false;
        } else if (!to.write(chunk)) from.pause(); // who does not read stops who writes, as in any network
      };
      to.on("drain", () => stalled || pair.muted || from.resume());
      from.on("data", (chunk) => (later ? setTimeout(pass, later, chunk) : pass(chunk)));
      from.on("close", () => {
        pairs.delete(pair);
        if (!pair.muted) to.destroy();
      });
      if (stalled) from.pause();
    }
  });
  return Object.assign(front, {
    port: Number(new URL(front.url).port),
    target: port,
    delay,
    /** How many connections there are that were not cut. */
    get connections() {
      return pairs.size;
    },
    stall() {
      stalled = true;
      for (const { client, upstream } of pairs) [client, upstream].forEach((end) => end.pause());
    },
    flow() {
      stalled = false;
      for (const { client, upstream, muted } of pairs) if (!muted) [client, upstream].forEach((end) => end.resume());
    },
    cut(how = "reset") {
      for (const pair of [...pairs]) CUTS[how](pair);
    },
  });
}

/**
 * Ends a connection by a reset. Where its end is just being said, that fails in Node.js, and leaves a
 * handle that is never closed and for which the process waits as it exits; so it is closed instead.
 */
const reset = (socket) => (socket.writableEnded && !socket.writableFinished ? socket.destroy() : socket.resetAndDestroy());

/**
 * Cuts a client off, and waits until it has noticed. A client that polls may have no connection at the
 * moment, and goes on by another one: then that is cut.
 */
export async function cutOff(way, socket, how) {
  const gone = disconnected(socket);
  await until("the client has lost its connection", () => {
    way.cut(how);
    return !socket.connected;
  });
  return gone;
}

/** The ways in which a connection ends, by name. */
export const CUTS = {
  /** Both sides are told at once, and what is under way is thrown away. */
  reset: ({ client, upstream }) => [client, upstream].forEach((end) => reset(end)),
  /** Both sides are told in good order. */
  end: ({ client, upstream }) => [client, upstream].forEach((end) => end.end(() => end.destroy())),
  /** The server is told nothing: for it the client is there, and does not read. */
  "half open": (pair) => {
    pair.muted = true;
    pair.upstream.pause();
    reset(pair.client);
  },
  /** The server knows it a while before the client. */
  "server first": (pair) => {
    pair.muted = true;
    pair.client.pause();
    reset(pair.upstream);
    setTimeout(() => reset(pair.client), 150);
  },
  /** In the middle of what the server says next. */
  torn: (pair) => {
    pair.torn = true;
  },
};

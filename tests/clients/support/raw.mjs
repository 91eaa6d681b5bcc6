// Below the clients: single requests and frames, for what no client would ever send.

import { request } from "node:http";

import { WebSocket } from "ws";

import { DEADLINE, until, within } from "./waiting.mjs";

const PATH = "/socket.io/";

/** A websocket on which the test writes each frame itself. Engine.IO pings are answered if asked for. */
export class RawSocket {
  frames = [];
  closed = false;
  #taken = 0;

  constructor(t, server, { query = "EIO=4&transport=websocket", answersPings = false, version = 13 } = {}) {
    this.ws = new WebSocket(`${server.url.replace("http", "ws")}${PATH}?${query}`, { protocolVersion: version });
    this.ws.on("error", () => {}); // it is followed by "close", which tells the same
    this.ws.on("close", () => (this.closed = true));
    this.ws.on("message", (data, isBinary) => {
      if (answersPings && !isBinary && data.toString() === "2") this.ws.send("3");
      else this.frames.push(isBinary ? data : data.toString());
    });
    t.after(() => this.ws.terminate());
  }

  /** Opens, reads the handshake and connects to `/` with the payload `auth`. */
  static async connected(t, server, { auth, ...options } = {}) {
    const raw = new RawSocket(t, server, options);
    await raw.next((frame) => frame.startsWith("0{"));
    raw.send(auth ? `40${JSON.stringify(auth)}` : "40");
    await raw.next((frame) => frame.startsWith("40{"));
    return raw;
  }

  /** What no server may choke on is sent as it is; a closed connection takes it without complaint. */
  send(...frames) {
    for (const frame of frames) if (this.ws.readyState === WebSocket.OPEN) this.ws.send(frame);
  }

  opened() {
    return within(DEADLINE, "the websocket opens", new Promise((resolve, reject) => {
      this.ws.once("open", resolve);
      this.ws.once("close", () => reject(new Error("the websocket was closed")));
    }));
  }

  /** The next frame that fits, of those not taken yet; what comes before it is passed over. */
  async next(fits = () => true) {
    return until("a frame", () => {
      while (this.#taken < this.frames.length) {
        const frame = this.frames[this.#taken++];
        if (fits(frame)) return frame;
      }
      if (this.closed) throw new Error(`the connection was closed after ${JSON.stringify(this.frames.slice(-3))}`);
    }, DEADLINE);
  }

  whenClosed(deadline = DEADLINE) {
    return until("the server closes the websocket", () => this.closed, deadline);
  }

  /** The status with which the server declines the upgrade. */
  refusedWith() {
    return within(DEADLINE, "the upgrade is declined", new Promise((resolve, reject) => {
      this.ws.once("unexpected-response", (_, response) => resolve(response.statusCode));
      this.ws.once("open", () => reject(new Error("the upgrade was accepted")));
    }));
  }
}

export const pollingUrl = (server, sid) => `${server.url}${PATH}?EIO=4&transport=polling${sid ? `&sid=${sid}` : ""}`;

/** A polling session by hand: the fields of the handshake, and single requests. */
export async function rawSession(server) {
  const response = await fetch(pollingUrl(server), { signal: AbortSignal.timeout(DEADLINE) });
  const text = await response.text();
  if (response.status !== 200 || !text.startsWith("0")) throw new Error(`no handshake: ${response.status} ${text}`);
  const fields = JSON.parse(text.slice(1));
  const url = pollingUrl(server, fields.sid);
  return {
    ...fields,
    fields,
    poll: () => fetch(url, { signal: AbortSignal.timeout(DEADLINE) }),
    post: (body) => fetch(url, { method: "POST", body, headers: { "content-type": "text/plain;charset=UTF-8" }, signal: AbortSignal.timeout(DEADLINE) }),
  };
}

/** One HTTP request, on a connection of its own, with exactly these headers (`fetch` forbids some). */
export function httpRequest(server, path, { method = "GET", headers = {}, body } = {}) {
  return within(DEADLINE, `${method} ${path} is answered`, new Promise((resolve, reject) => {
    const sent = request(server.url + path, { method, headers, agent: false }, (response) => {
      let text = "";
      response.setEncoding("utf8").on("data", (chunk) => (text += chunk)).on("error", reject);
      response.on("end", () => resolve({ status: response.statusCode, headers: response.headers, text }));
    });
    sent.on("error", reject).end(body);
  }));
}

/** The answer to a websocket upgrade that the server declines: `httpRequest`'s answer. */
export async function declinedUpgrade(server, query, headers = {}) {
  const upgrade = { connection: "Upgrade", upgrade: "websocket", "sec-websocket-version": "13", "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==" };
  return httpRequest(server, `${PATH}?${query}`, { headers: { ...upgrade, ...headers } });
}

/** A poll that can be broken off; resolves when the request has left. */
export function breakablePoll(server, sid) {
  return within(DEADLINE, "the poll leaves", new Promise((resolve, reject) => {
    const poll = request(pollingUrl(server, sid), { agent: false });
    poll.on("error", reject); // after `finish` this changes nothing any more
    poll.on("socket", (socket) => socket.on("connect", () => poll.flushHeaders()));
    poll.on("finish", () => resolve({ breakOff: () => poll.destroy() }));
    poll.end();
  }));
}

// Messages that wait for users: a back end that keeps them, and devices that get them.

import assert from "node:assert/strict";

import { connect } from "./clients.mjs";
import { token } from "./tokens.mjs";
import { DEADLINE, until } from "./waiting.mjs";

/** The admin port of a server, as a back end uses it. */
export class BackEnd {
  constructor(port) {
    this.url = `http://127.0.0.1:${port}/api/v1`;
  }

  /** The status and the body of an answer. */
  async ask(method, path, body) {
    const options = { method, signal: AbortSignal.timeout(DEADLINE) };
    if (body !== undefined) Object.assign(options, { headers: { "content-type": "application/json" }, body: JSON.stringify(body) });
    const answer = await fetch(this.url + path, options);
    return { status: answer.status, body: await answer.json() };
  }

  keep(user, message) {
    return this.ask("POST", `/users/${encodeURIComponent(user)}/inbox`, message);
  }

  /** Keeps a message that is new, and gives its number. */
  async kept(user, message) {
    const { status, body } = await this.keep(user, message);
    assert.equal(status, 202, JSON.stringify(body));
    return body.seq;
  }

  /** What is kept for a user. */
  async inbox(user, query = "") {
    const { status, body } = await this.ask("GET", `/users/${encodeURIComponent(user)}/inbox${query}`);
    assert.equal(status, 200, JSON.stringify(body));
    return body;
  }

  metrics() {
    return fetch(this.url.replace("/api/v1", "/metrics")).then((answer) => answer.text());
  }
}

/** A device of a user that is connected, and everything that it got. */
export class Device {
  got = [];
  unanswered = [];

  /** `acknowledges`: whether it does so at once. */
  static async open(t, server, user, { device, inbox, acknowledges = true, claims, ...options } = {}) {
    const it = new Device();
    it.acknowledges = acknowledges;
    const auth = { token: await token(user, claims), device, inbox };
    it.socket = await connect(t, server, { auth, onOpen: (socket) => it.listen(socket), ...options });
    return it;
  }

  listen(socket) {
    socket.onAny((event, ...args) => {
      const answer = typeof args.at(-1) === "function" ? args.pop() : undefined;
      if (!answer) return;
      this.got.push([event, ...args]);
      if (this.acknowledges) answer();
      else this.unanswered.push(answer);
    });
  }

  /** Acknowledges what it has got so far and what comes from now on. */
  acknowledge() {
    this.acknowledges = true;
    this.unanswered.splice(0).forEach((answer) => answer());
  }

  /** The first arguments of what it got, once there are so many. */
  async has(count) {
    await until(() => `${count} messages, and not ${JSON.stringify(this.got)}`, () => this.got.length >= count);
    return this.firsts();
  }

  firsts() {
    return this.got.map(([, first]) => first);
  }

  close() {
    this.socket.close();
  }
}

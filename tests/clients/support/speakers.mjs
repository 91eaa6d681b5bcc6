// Who says the numbered messages of a campaign: clients, the HTTP API, the command line, a program.

import assert from "node:assert/strict";

import { connect, connectWith } from "./clients.mjs";
import { runBinary } from "./server.mjs";
import { StreamsEmitter } from "./streams-emitter.mjs";
import { token } from "./tokens.mjs";
import { DEADLINE } from "./waiting.mjs";

/**
 * Says numbered messages to its targets in turn until it is told to stop, and then one more to each. A
 * target is a room, `user:…`, or `everybody`.
 */
export class Speaker {
  sent = {};

  /** `say(message, target)` sends, and may take its time: then nothing overtakes it. `binary`: every fifth has bytes. */
  constructor(name, targets, say, { every = 20, binary = false } = {}) {
    Object.assign(this, { name, targets, say, every, binary });
  }

  /** The streams of those of its targets. */
  streams(targets) {
    return targets.filter((target) => this.targets.includes(target)).map((target) => `${this.name} to ${target}`);
  }

  start() {
    this.running = this.#run();
    this.running.catch(() => {}); // whoever stops it hears of it
    return this;
  }

  async #run() {
    for (let turn = 0; !this.stopped; turn++) {
      await this.#say(this.targets[turn % this.targets.length]);
      await new Promise((done) => setTimeout(done, this.every));
    }
    // The last word to each target, when nobody is cut any more.
    for (const target of this.targets) await this.#say(target);
  }

  async #say(target) {
    const [stream] = this.streams([target]);
    const number = this.sent[stream] ?? 0;
    this.sent[stream] = number + 1;
    const bytes = Buffer.alloc(4);
    bytes.writeUInt32BE(number);
    await this.say({ stream, number, ...(this.binary && number % 5 === 0 && { bytes }) }, target);
  }

  stop() {
    this.stopped = true;
    return this.running;
  }
}

/** The user that a target names, if it does. */
const userIn = (target) => /^user:(.*)/.exec(target)?.[1];

/** A client that is not cut, by events of the gateway; `targets` are rooms. */
export async function byClient(t, server, name, rooms, options = {}) {
  const socket = await connect(t, server, options);
  for (const room of rooms) await socket.emitWithAck("join", room);
  return new Speaker(name, rooms, (data, room) => void socket.emit("publish", { room, event: "says", data }), { ...options, binary: true });
}

/** Another device of each user, by an event that reaches all devices. */
export async function byDevices(t, server, name, targets, options = {}) {
  const devices = {};
  for (const target of targets) devices[target] = await connectWith(t, server, await token(userIn(target)), options);
  return new Speaker(name, targets, (message, target) => void devices[target].emit("events", message), { ...options, binary: true });
}

/** The HTTP API, one request after the other. `admin` is its address. */
export function byApi(admin, name, targets, options) {
  return new Speaker(name, targets, async (message, target) => {
    const to = target === "everybody" ? { all: true } : userIn(target) ? { users: [userIn(target)] } : { rooms: [target] };
    const answer = await fetch(`${admin}/api/v1/emit`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ ...to, event: "says", args: [message, "a text at the end"] }),
      signal: AbortSignal.timeout(DEADLINE),
    });
    assert.equal(answer.status, 202, await answer.text());
  }, options);
}

/** The command line, through Redis: a process for each message. */
export function byCommand(redis, name, targets, { args = [], ...options } = {}) {
  return new Speaker(name, targets, async (message, target) => {
    const to = target === "everybody" ? ["--all"] : userIn(target) ? ["--user", userIn(target)] : ["--room", target];
    const { code, stderr } = await runBinary(["emit", "--redis-url", redis, ...args, ...to, "says", JSON.stringify(message)]);
    assert.equal(code, 0, stderr);
  }, { every: 500, ...options });
}

/**
 * The emitter of the streams adapter: an entry for each message, and the next one when Redis has it. `client` speaks
 * to Redis. After `hold()` nothing is under way, and nothing is said until `release()`.
 */
export function byEmitter(client, name, targets, options) {
  let released = Promise.resolve();
  let saying = Promise.resolve();
  let release;
  const speaker = new Speaker(name, targets, async (message, target) => {
    await released;
    const emitter = new StreamsEmitter(client);
    saying = (target === "everybody" ? emitter : emitter.to(target)).emit("says", message, "a text at the end");
    await saying;
  }, options);
  const hold = () => {
    released = new Promise((done) => (release = done));
    return saying;
  };
  return Object.assign(speaker, { hold, release: () => release() });
}

/** A program in the process of a Node.js server. */
export function byNode(node, name, targets, options) {
  return new Speaker(name, targets, (message, target) => node.run((io, message, target) => {
    (target === "everybody" ? io : io.to(target)).emit("says", message, "a text at the end");
  }, message, target), { ...options, binary: true });
}

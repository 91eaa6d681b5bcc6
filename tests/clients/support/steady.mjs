// A steady stream of numbers from one client to others: what is missing, doubled or late shows what a
// fault did to delivery.

import assert from "node:assert/strict";

import { ack } from "./clients.mjs";
import { DEADLINE, until } from "./waiting.mjs";

const EVERY = 10;
let streams = 0;

export class Stream {
  #numbers = 0;
  #sent = [];
  #listeners = {};

  /** Starts: `sender` publishes to a room of the `listeners` (sockets by name), a number each `every` ms. */
  static async start(t, sender, listeners, { every = EVERY } = {}) {
    const stream = new Stream();
    stream.room = `public:stream-${++streams}`;
    const members = new Map();
    for (const socket of [sender, ...Object.values(listeners)]) {
      const join = async () => {
        const { id } = socket;
        await ack(socket, "join", stream.room);
        members.set(socket, id);
      };
      await join();
      // One that was cut off and comes back by itself. It may be cut off once more before it has joined.
      socket.on("connect", () => join().catch(() => {}));
      socket.on("disconnect", () => members.delete(socket));
    }
    for (const [name, socket] of Object.entries(listeners)) {
      const heard = (stream.#listeners[name] = []);
      socket.on(stream.room, ({ data }) => heard.push({ number: data, at: performance.now(), member: members.get(socket) }));
    }
    const send = () => {
      if (!sender.connected) return;
      stream.#sent.push(performance.now());
      sender.emit("publish", { room: stream.room, event: stream.room, data: stream.#numbers++ });
    };
    stream.timer = setInterval(send, every);
    t.after(() => clearInterval(stream.timer));
    return stream;
  }

  /** Waits until `name` hears numbers that are sent from now on; returns after how many ms it did. */
  async flows(name, deadline = DEADLINE) {
    const [from, start] = [this.#numbers, performance.now()];
    await until(`the stream flows to ${name}`, () => this.#listeners[name].at(-1)?.number >= from, deadline);
    return Math.round(performance.now() - start);
  }

  async stop() {
    clearInterval(this.timer);
  }

  /** For how long `name` heard nothing, at the worst, in ms. */
  longestSilence(name) {
    const heard = this.#listeners[name];
    return Math.round(Math.max(...heard.slice(1).map(({ at }, index) => at - heard[index].at)));
  }

  /** How many numbers were sent. */
  get sent() {
    return this.#numbers;
  }

  /** Nothing came twice, all in order; returns how many are missing once nothing comes any more. */
  async missing(name, { settled = 500 } = {}) {
    const heard = this.#listeners[name];
    let [count, since] = [heard.length, performance.now()];
    await until(`${name} hears nothing more`, () => {
      if (heard.length === this.#numbers) return true;
      if (heard.length !== count) [count, since] = [heard.length, performance.now()];
      return performance.now() - since > settled;
    }, 30_000);
    return this.assertOrdered(name);
  }

  /**
   * How many numbers are missing so far in the connection that `name` has now, between the first and the last
   * that was heard in it since it was told that it has joined. What was missing in a connection that has ended
   * is not counted.
   */
  missedWhileOpen(name) {
    const all = this.#listeners[name].filter(({ member }) => member);
    const heard = all.filter(({ member }) => member === all.at(-1).member);
    return heard.length && heard.at(-1).number - heard[0].number + 1 - heard.length;
  }

  /** Nothing is missing, nothing came twice, all in order; returns the longest way, in ms. */
  async assertWhole(name) {
    const heard = this.#listeners[name];
    await until(`${name} hears the last number`, () => heard.length >= this.#numbers);
    assert.deepEqual(heard.map(({ number }) => number), Array.from({ length: this.#numbers }, (_, number) => number));
    return Math.round(Math.max(...heard.map(({ number, at }) => at - this.#sent[number])));
  }

  /** Nothing came twice, all in order; returns how many are missing. */
  assertOrdered(name) {
    const heard = this.#listeners[name];
    heard.forEach(({ number }, at) => assert.ok(at === 0 || heard[at - 1].number < number, `${name}: ${number} after ${heard[at - 1]?.number}`));
    return this.#numbers - heard.length;
  }
}

// Chance that can be repeated: a run prints its seed, and whoever gives it again gets the same choices.

import { randomInt } from "node:crypto";

/** The seed of this run: `RECOVERY_SEED`, or a new one. */
export const SEED = Number(process.env.RECOVERY_SEED ?? randomInt(2 ** 31));

/** Mulberry32: a state of 32 bits, enough to choose whom to cut and when. */
export class Random {
  #state;

  constructor(seed = SEED) {
    this.#state = seed >>> 0;
  }

  /** A source of its own for each name: what one client draws does not depend on when the others do. */
  of(name) {
    let state = this.#state ^ 0x811c9dc5;
    for (const byte of Buffer.from(String(name))) state = Math.imul(state ^ byte, 0x01000193);
    return new Random(state);
  }

  /** From 0 on, below 1. */
  next() {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let mixed = this.#state;
    mixed = Math.imul(mixed ^ (mixed >>> 15), mixed | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  }

  /** A whole number from `low` on, below `high`. */
  between(low, high) {
    return low + Math.floor(this.next() * (high - low));
  }

  /** True in that share of all cases. */
  chance(share) {
    return this.next() < share;
  }

  pick(list) {
    return list[this.between(0, list.length)];
  }
}

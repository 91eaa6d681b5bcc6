// Waiting for something, with a deadline that says what did not come.

import { setTimeout as pause } from "node:timers/promises";

/** Longer than anything takes, even on a busy machine, in milliseconds. Reached only when a test fails. */
export const DEADLINE = 20_000;

/** The value of `promise`, or an error that names `what` after `deadline` milliseconds. */
export function within(deadline, what, promise) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`waited ${deadline} ms in vain: ${what}`)), deadline);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

/**
 * Asks `condition` again and again until it is truthy, and returns its value. `what` is not there
 * yet, as text or as a function that says it when the time is over.
 */
export async function until(what, condition, deadline = DEADLINE) {
  const end = Date.now() + deadline;
  for (;;) {
    const value = await condition();
    if (value) return value;
    if (Date.now() > end) throw new Error(`waited ${deadline} ms in vain: ${typeof what === "function" ? what() : what}`);
    await pause(20);
  }
}

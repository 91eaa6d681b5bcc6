// The lines of the demo that handle each message of an inbox once, on their own.

import assert from "node:assert/strict";
import { describe, it } from "node:test";

import { Handled, once } from "../../client-demo/public/inbox.js";

describe("what a device has handled", () => {
  /** What a device shows of these `[seq, text]`, and how many it acknowledges. */
  function shownOf(...messages) {
    const storage = new Map();
    const memory = { getItem: (key) => storage.get(key) ?? null, setItem: (key, value) => storage.set(key, value) };
    const shown = [];
    let acknowledgements = 0;
    for (const [seq, text] of messages) {
      // Each time by a page that has just been opened.
      const receive = once(new Handled(memory, "key", (event, args) => [event, ...args]), ({ message }) => shown.push(message[1]));
      receive("note", text, seq, () => acknowledgements++);
    }
    assert.equal(acknowledgements, messages.length);
    return shown;
  }

  it("is ignored, whatever is missing between", () => {
    assert.deepEqual(shownOf([1, "a"], [1, "a"], [3, "c"], [1, "a"], [3, "c"], [7, "g"]), ["a", "c", "g"]);
  });

  it("is forgotten if the server counts anew", () => {
    assert.deepEqual(shownOf([1, "a"], [2, "b"], [1, "c"], [1, "c"], [2, "d"], [2, "d"]), ["a", "b", "c", "d"]);
    assert.deepEqual(shownOf([5, "a"], [6, "b"], [1, "a"], [2, "b"], [5, "e"]), ["a", "b", "a", "b", "e"]);
  });

  it("is remembered for more messages than can be on their way", () => {
    const many = Array.from({ length: 300 }, (_, n) => [n + 1, `${n + 1}`]);
    const last = many.slice(-32);
    assert.equal(shownOf(...many, ...last, ...last).length, 300);
  });

  it("is no event without an acknowledgement or a number", () => {
    const receive = once(new Handled({ getItem: assert.fail, setItem: assert.fail }, "key", String), assert.fail);
    receive("note");
    receive("note", 1);
    receive("note", "a", () => assert.fail());
    receive("note", () => assert.fail());
  });

  it("is not acknowledged if it cannot be remembered", () => {
    const full = { getItem: () => null, setItem: () => { throw new Error("full"); } };
    const receive = once(new Handled(full, "key", String), assert.fail);
    assert.throws(() => receive("note", "a", 1, assert.fail), /full/);
  });
});

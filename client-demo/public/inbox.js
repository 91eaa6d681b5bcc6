// Messages that wait for a user, each handled once. The server sends a message again until it has heard
// the acknowledgement, so one whose acknowledgement was lost comes twice, with the same number.
// A client ignores numbers up to the highest that it has handled.

/** At least as many as may be on their way without an acknowledgement (`inbox.window`). */
const REMEMBERED = 100;

/**
 * A listener for `socket.onAny` that hands each message to `handled` and acknowledges it, and leaves other
 * events alone. The socket has said `inbox: true` in its `auth`: a message has its number behind its
 * arguments, and wants to be acknowledged.
 */
export function once(handled, show) {
  return (event, ...args) => {
    const done = args.pop();
    const seq = args.pop();
    if (typeof done !== "function" || !Number.isSafeInteger(seq)) return;
    // What cannot be remembered is not acknowledged: the error leaves this listener, and the message comes again.
    if (handled.add(seq, event, args)) show(handled.messages.at(-1));
    done();
  };
}

/**
 * The messages that a device of a user has handled, in `memory` (`localStorage`, or what works like it)
 * under a key of this device and user. Number and message are written together: no crash comes between.
 */
export class Handled {
  #memory;
  #key;
  #keep;

  /** `keep` makes what is to be remembered of a message, not too large, out of its event and its arguments. */
  constructor(memory, key, keep) {
    this.#memory = memory;
    this.#key = key;
    this.#keep = keep;
  }

  /** What is remembered of the latest messages, the oldest first: `{ seq, message }`. */
  get messages() {
    return this.#read().messages;
  }

  /** Remembers a message. Returns whether it is a new one. */
  add(seq, event, args) {
    const message = this.#keep(event, args);
    let { first = seq, highest = 0, messages } = this.#read();
    if (hasBegunAnew(seq, message, first, messages)) {
      [first, highest] = [seq, 0];
      messages = messages.map((old) => ({ ...old, seq: null }));
    }
    if (seq <= highest) return false;
    messages = [...messages, { seq, message }].slice(-REMEMBERED);
    this.#memory.setItem(this.#key, JSON.stringify({ first, highest: seq, messages }));
    return true;
  }

  #read() {
    return JSON.parse(this.#memory.getItem(this.#key)) ?? { messages: [] };
  }
}

/**
 * Whether the server counts from 1 again. One whose store is a file or a database never does; that of
 * `--dev` has its store in memory. Numbers before our first, and known ones with another message, tell.
 */
function hasBegunAnew(seq, message, first, messages) {
  const known = messages.find((old) => old.seq === seq);
  return seq < first || (known !== undefined && JSON.stringify(known.message) !== JSON.stringify(message));
}

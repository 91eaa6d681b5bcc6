// What a client must have got, and what it got. A stream is what one publisher says to one target,
// numbered from 0 on; a client that belongs to the target from the beginning must get each number
// once, and in order, in all connections together.
//
// A connection that did not recover begins a new session: what was said between the last of the one
// session and the first of the next is lost with the client's knowledge. Everything else that is not
// there is missing without its knowledge, and that is never allowed.

/** One client's account. */
export class Account {
  #streams = new Map();
  #session = 0;

  /** `streams`: the names of those that the client belongs to. */
  constructor(streams) {
    for (const name of streams) this.#streams.set(name, []);
  }

  /** A number was heard; the name of a stream that is not the client's is an error of delivery. */
  hear(stream, number) {
    const heard = this.#streams.get(stream);
    if (!heard) return false;
    heard.push({ number, session: this.#session });
    return true;
  }

  /** The client was told that it has lost something. */
  begin() {
    this.#session++;
  }

  /** Whether the last of each stream was heard; `sent` says how many there are by name. */
  isComplete(sent) {
    return [...this.#streams].every(([name, heard]) => !sent[name] || heard.some(({ number }) => number === sent[name] - 1));
  }

  /**
   * Numbers by stream: `missing` without the client's knowledge, `lost` with it, `repeated`, and
   * `disordered`, which came after a higher one for the first time.
   */
  judge(sent) {
    const all = { heard: 0, missing: [], lost: [], repeated: [], disordered: [] };
    for (const [name, heard] of this.#streams) {
      const seen = new Set();
      let highest = -1;
      // What was due in each session, at least: from the lowest number that was heard in it to the highest.
      const due = new Map();
      for (const { number, session } of heard) {
        if (seen.has(number)) all.repeated.push(`${name} ${number}`);
        else if (number < highest) all.disordered.push(`${name} ${number}`);
        seen.add(number);
        highest = Math.max(highest, number);
        const { low = number, high = number } = due.get(session) ?? {};
        due.set(session, { low: Math.min(low, number), high: Math.max(high, number) });
      }
      all.heard += heard.length;
      // The first session has begun before the first number was sent, the last one before the last.
      const count = sent[name] ?? 0;
      due.set(0, { high: -1, ...due.get(0), low: 0 });
      due.set(this.#session, { low: count - 1, ...due.get(this.#session), high: count - 1 });
      for (let number = 0; number < count; number++) {
        if (seen.has(number)) continue;
        const known = [...due.values()].some(({ low, high }) => low <= number && number <= high);
        (known ? all.missing : all.lost).push(`${name} ${number}`);
      }
    }
    return all;
  }
}

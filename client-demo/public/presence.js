// Who is online, as far as this tab has heard. Decides, and does nothing else: no clock, no socket.
//
// The server says from whom an announcement is; which tab and node it is about, the announcer says.
// So a liar can invent tabs of their own, and none of somebody else.

export const ANNOUNCE_EVERY_MS = 5_000;
const EXPIRES_AFTER_MS = 12_000; // two announcements may be lost
const MAX_TABS = 500; // of everybody; whoever floods the room must not fill our memory

export class Presence {
  #tabs = new Map(); // "user tab" -> { user, node, seen }

  /** Takes note of an announcement; `user` is null for a guest. */
  here(user, { tab, node } = {}, now) {
    if (typeof tab !== "string" || tab.length > 40) return;
    const key = keyOf(user, tab);
    if (this.#tabs.size >= MAX_TABS && !this.#tabs.has(key)) return;
    this.#tabs.set(key, { user, tab, node: typeof node === "string" ? node.slice(0, 40) : "?", seen: now });
  }

  bye(user, { tab } = {}) {
    this.#tabs.delete(keyOf(user, tab));
  }

  clear() {
    this.#tabs.clear();
  }

  /** Forgets who has been silent too long. */
  expire(now) {
    for (const [key, { seen }] of this.#tabs) if (now - seen > EXPIRES_AFTER_MS) this.#tabs.delete(key);
  }

  /**
   * Everybody with the number of their tabs and the nodes these are on, by name, guests last. Nobody
   * knows which guests are one person, so each tab of a guest is one, and is named.
   */
  people() {
    const people = new Map();
    for (const [key, { user, tab, node }] of this.#tabs) {
      const who = user === null ? key : keyOf(user);
      const person = people.get(who) ?? { user, ...(user === null && { tab }), tabs: 0, nodes: new Set() };
      person.tabs++;
      person.nodes.add(node);
      people.set(who, person);
    }
    return [...people.values()]
      .map((person) => ({ ...person, nodes: [...person.nodes].sort() }))
      .sort((a, b) => (a.user === null) - (b.user === null) || (a.user < b.user ? -1 : 1));
  }
}

// JSON keeps the parts apart, and a guest apart from a user called "null".
const keyOf = (user, tab) => JSON.stringify([user, tab]);

// The Admin UI without its page: a socket in the admin namespace, and what it is told.

import assert from "node:assert/strict";

import { Inbox, connect } from "./clients.mjs";
import { until } from "./waiting.mjs";

export const USERNAME = "ops";
export const PASSWORD = "correct horse battery";

/** The section of the configuration that turns it on. */
export const adminUi = (options = {}) => ({ enabled: true, username: USERNAME, password: PASSWORD, mode: "development", ...options });

/** A page of an admin that is connected, and everything that it hears. */
export class Page {
  static async open(t, server, { auth = { username: USERNAME, password: PASSWORD }, namespace = "/admin", ...options } = {}) {
    const page = new Page();
    page.socket = await connect(t, server, { namespace, auth, onOpen: (socket) => (page.inbox = new Inbox(socket)), ...options });
    return page;
  }

  /** An admin that has seen everything there was when it came. */
  static async settled(t, server, options) {
    const page = await Page.open(t, server, options);
    page.sockets = (await page.told("all_sockets"))[0];
    return page;
  }

  /** The arguments of an event that fits, heard before or from now on. */
  told(event, fits = () => true, deadline) {
    return until(`the admin is told ${event}`, () => this.inbox.of(event).find((args) => fits(...args)), deadline);
  }

  /** Forgets what was told so far. */
  forget() {
    this.inbox.events.length = 0;
  }

  emit(...args) {
    this.socket.emit(...args);
  }

  /** What the page may offer. */
  async features() {
    const [config] = await this.told("config");
    assert.deepEqual(Object.keys(config), ["supportedFeatures"]);
    return config.supportedFeatures;
  }
}

/**
 * The shape of a value: the type of each part. Members that depend on the client or on the
 * application (`open`) have none.
 */
export function shape(value, open = ["headers", "query", "data"]) {
  if (Array.isArray(value)) return [...new Set(value.map((part) => JSON.stringify(shape(part, open))))].sort();
  if (value === null || typeof value !== "object") return value === null ? "null" : typeof value;
  const entries = Object.entries(value).sort(([one], [other]) => (one < other ? -1 : 1));
  return Object.fromEntries(entries.map(([key, part]) => [key, open.includes(key) ? "open" : shape(part, open)]));
}

// The real clients, and the words in which the tests speak about what they hear.

import { createRequire } from "node:module";
import { io } from "socket.io-client";

import { DEADLINE, until, within } from "./waiting.mjs";

// The 2.x client is CommonJS and looks for a browser's globals when it is imported.
const io2 = createRequire(import.meta.url)("socket.io-client-2");

/** The ways in which a client of today reaches the server. */
export const TRANSPORTS = {
  "websocket only": ["websocket"],
  "polling only": ["polling"],
  "polling, then upgraded": ["polling", "websocket"],
};

/** A 4.x socket that is not connected yet. `forceNew`: each socket of a test is a tab of its own. */
export function open(server, { namespace = "/", transports = ["websocket"], ...options } = {}) {
  return io(server.url + (namespace === "/" ? "" : namespace), { forceNew: true, reconnection: false, transports, ...options });
}

/**
 * Connects a 4.x client, and closes it after the test `t`. `onOpen` gets the socket before it
 * connects, to listen for what the server says first.
 */
export async function connect(t, server, { onOpen, ...options } = {}) {
  const socket = open(server, options);
  onOpen?.(socket);
  t.after(() => socket.close());
  return connected(socket);
}

/** Connects as the bearer of a token. */
export async function connectWith(t, server, token, options) {
  return connect(t, server, { ...options, auth: { token } });
}

/** Connects a 2.x client, websocket only as is the server's default for these. */
export async function connectV2(t, server, options = {}) {
  const socket = openV2(server, options);
  t.after(() => socket.close());
  return connected(socket);
}

export function openV2(server, options = {}) {
  return io2(server.url, { forceNew: true, reconnection: false, transports: ["websocket"], ...options });
}

/** The socket once it is connected. Rejects with the error of the refusal otherwise. */
export function connected(socket, deadline = DEADLINE) {
  return within(deadline, "the socket connects", new Promise((resolve, reject) => {
    if (socket.connected) return resolve(socket);
    socket.once("connect", () => resolve(socket));
    socket.once("connect_error", reject); // 4.x, and 2.x when the transport fails
    socket.once("error", (error) => reject(error instanceof Error ? error : new Error(JSON.stringify(error)))); // 2.x
  }));
}

/** The error with which the server refuses the connection; fails if it lets it in. */
export async function refusal(t, server, options) {
  const socket = open(server, options);
  t.after(() => socket.close());
  return connected(socket).then(
    () => Promise.reject(new Error("the server let the socket in")),
    (error) => error,
  );
}

/** Waits until a default client has left polling behind. */
export async function upgraded(socket) {
  const { engine } = socket.io;
  if (engine.transport.name !== "websocket") {
    await within(DEADLINE, "the upgrade to websocket", new Promise((resolve) => engine.once("upgrade", resolve)));
  }
  return socket;
}

/** 4.x clients over each of the transports, by name: functions that connect one to `server` or to another. */
export const clientsOf = (server) => Object.fromEntries(
  Object.entries(TRANSPORTS).map(([name, transports]) => [
    `4.x, ${name}`,
    async (t, to = server) => {
      const socket = await connect(t, to, { transports });
      return transports.length > 1 ? upgraded(socket) : socket;
    },
  ]),
);

/** Sends numbers until the socket has left polling behind, and one more; gives them, and what came back. */
export async function echoedWhileUpgrading(socket, deadline = DEADLINE) {
  const [sent, answered] = [[], []];
  socket.on("events", (number) => answered.push(number));
  const send = () => {
    socket.emit("events", sent.length);
    sent.push(sent.length);
  };
  while (socket.io.engine.transport.name === "polling" && sent.length < 10_000) {
    send();
    await new Promise(setImmediate);
  }
  await upgraded(socket);
  send();
  await until("all are back", () => answered.length >= sent.length, deadline);
  return { sent, answered };
}

/** `emit` whose acknowledgement must come: its only argument, or all as a list if there are several. */
export function ack(socket, event, ...args) {
  return within(DEADLINE, `the ack of ${event}`, new Promise((resolve) => {
    socket.emit(event, ...args, (...answer) => resolve(answer.length > 1 ? answer : answer[0]));
  }));
}

/** The arguments of the next `event` that fits. Ask before causing it. */
export function heard(socket, event, fits = () => true, deadline = DEADLINE) {
  return within(deadline, `the event ${event}`, new Promise((resolve) => {
    socket.on(event, function listener(...args) {
      if (!fits(...args)) return;
      socket.off(event, listener);
      resolve(args);
    });
  }));
}

/** Why the socket was disconnected. Ask before causing it. */
export const disconnected = (socket, deadline = DEADLINE) => heard(socket, "disconnect", undefined, deadline).then(([reason]) => reason);

/** Everything that a 4.x socket hears from now on, in order. */
export class Inbox {
  #socket;
  events = [];

  constructor(socket) {
    this.#socket = socket;
    socket.onAny((event, ...args) => this.events.push([event, ...args]));
  }

  of(event) {
    return this.events.filter(([name]) => name === event).map(([, ...args]) => args);
  }

  /**
   * All that had come when `sender` was done with what it did before this call. One socket's events
   * are handled in order, so the answer to its next one says that the earlier ones had their effect;
   * and one connection keeps the order, so our own next answer comes after all that was sent to us.
   */
  async after(sender) {
    await ack(sender, "whoami");
    await ack(this.#socket, "whoami");
    return this.events;
  }
}

// The story of Switchboard in a minute: alice with two tabs, bob with one, and a guest. Each step says
// who hears what, and checks it. Exit code 0 only if all went as told.

import { parseArgs } from "node:util";
import { io } from "socket.io-client";

import { BackEnd } from "./backend.mjs";
import { Handled, once } from "./public/inbox.js";
import { DEV_SECRET, demoToken } from "./token.mjs";

const HELP = `Usage: node demo.mjs [--admin URL] [--secret SECRET] [--quiet] [URL …]

Plays two users, three tabs and a guest on one or several Switchboard servers; the sockets are spread
over the URLs in turn.

  URL              default http://localhost:3000
  --admin URL      the admin port of one of the servers, for the chapter about messages to who is away;
                   without it, or without an inbox there, the chapter is left out
  --api-key KEY    one of the server's admin.api_keys, if it has any. Default: SWITCHBOARD_API_KEY
  --secret SECRET  signs the demo's tokens (HS256). Default: SWITCHBOARD_SECRET, or the well-known
                   secret of \`switchboard --dev\`
  --transport NAME websocket (default) or polling
  --quiet          prints failures only
  --help           prints this

Exit codes: 0 all went as told, 1 something did not, 2 bad usage.`;

const DEADLINE = 40_000; // for the whole story
const PATIENCE = 5_000; // for one thing to happen
// The room, and the event, by which `settle` knows that everything has been heard; of this run alone.
const MARKER = `public:marker-${crypto.randomUUID()}`;

const options = readOptions();
const people = []; // all that were ever connected, to be sent home at the end
const failures = [];
let markers = 0;

class Person {
  constructor(name, socket) {
    this.name = name;
    this.socket = socket;
    this.heard = [];
    this.marker = 0; // the latest that was heard
    socket.onAny((event, ...args) => {
      if (event === MARKER) this.marker = args[0].data;
      else this.heard.push({ event, args });
    });
  }

  /** Emits, and waits for the acknowledgement. */
  async ask(event, ...args) {
    try {
      return await this.socket.timeout(PATIENCE).emitWithAck(event, ...args);
    } catch {
      throw new Error(`${this.name} got no answer to ${event} within ${PATIENCE} ms`);
    }
  }

  /** Takes out what was heard so far. */
  take() {
    return this.heard.splice(0);
  }
}

await main();

async function main() {
  // Whatever hangs, the demo ends: a list of what failed is worth more than a process that waits.
  const alarm = setTimeout(() => {
    failures.push(`the story took more than ${DEADLINE / 1000} s`);
    end();
  }, DEADLINE);
  try {
    await story();
  } catch (error) {
    failures.push(error.message);
  }
  clearTimeout(alarm);
  end();
}

async function story() {
  say(`Switchboard demo on ${options.urls.join(", ")}`);

  const aliceToken = await demoToken("alice", options.secret);
  const bobToken = await demoToken("bob", options.secret);
  const alice1 = await arriveInStory("alice (tab 1)", aliceToken);
  const alice2 = await arriveInStory("alice (tab 2)", aliceToken);
  const bob = await arriveInStory("bob", bobToken);
  const guest = await arriveInStory("guest");
  const everybody = [alice1, alice2, bob, guest];

  chapter("Who is who");
  for (const [person, user] of [[alice1, "alice"], [alice2, "alice"], [bob, "bob"], [guest, null]]) {
    const me = await person.ask("whoami");
    check(`the server knows ${person.name} as ${user ?? "nobody"}, on node ${me?.node}`, me?.user, user);
    check(`  and gave it the id that its client has`, me?.socket, person.socket.id);
  }

  chapter("A reply reaches all tabs of its user");
  const hello = { hello: "world" };
  check("alice (tab 1) emits `events` and has its first argument acknowledged", await alice1.ask("events", hello), hello);
  await settle(alice1, everybody);
  const events = [{ event: "events", args: [hello] }];
  check("alice (tab 1) hears `events` herself", alice1.take(), events);
  check("alice (tab 2) hears it too, exactly once", alice2.take(), events);
  check("bob hears nothing", bob.take(), []);
  check("guest hears nothing", guest.take(), []);

  chapter("The lobby");
  // A room of this run alone: other demos on the same server do not get into the story.
  const lobby = `public:lobby-${crypto.randomUUID().slice(0, 8)}`;
  for (const person of [alice1, bob, guest]) {
    check(`${person.name} joins ${lobby}`, await person.ask("join", lobby), { ok: true, room: lobby });
  }
  check("alice (tab 1) publishes `chat`", await alice1.ask("publish", { room: lobby, event: "chat", data: "hi all" }), { ok: true });
  await settle(alice1, everybody);
  const fromAlice = [{ event: "chat", args: [{ room: lobby, from: "alice", data: "hi all" }] }];
  check("bob hears it, from alice", bob.take(), fromAlice);
  check("guest hears it, from alice", guest.take(), fromAlice);
  check("alice (tab 1) does not hear herself", alice1.take(), []);
  check("alice (tab 2) has not joined and hears nothing", alice2.take(), []);

  check("guest publishes, without a name for the event", await guest.ask("publish", { room: lobby, data: "who am I?" }), { ok: true });
  await settle(guest, everybody);
  const fromNobody = [{ event: "message", args: [{ room: lobby, from: null, data: "who am I?" }] }];
  check("alice (tab 1) hears `message`, from null", alice1.take(), fromNobody);
  check("bob hears `message`, from null", bob.take(), fromNobody);

  check(`bob leaves ${lobby}`, await bob.ask("leave", lobby), { ok: true, room: lobby });
  await alice1.ask("publish", { room: lobby, data: "still there, bob?" });
  await settle(alice1, everybody);
  check("bob hears the lobby no longer", bob.take(), []);
  check("guest still does", guest.take().length, 1);

  chapter("What is not allowed");
  check("bob may not join `secret`", (await bob.ask("join", "secret"))?.error?.code, "forbidden");
  check("alice (tab 1) may not listen in on `user:bob`", (await alice1.ask("join", "user:bob"))?.error?.code, "forbidden");
  check("bob may not publish where he is no member", (await bob.ask("publish", { room: lobby, data: 1 }))?.error?.code, "forbidden");
  check("an event that nobody handles is `unknown_event`", (await guest.ask("make-coffee"))?.error?.code, "unknown_event");

  chapter("Bytes");
  const bytes = Buffer.from([0, 1, 2, 254, 255]);
  check("guest has bytes acknowledged as the same bytes", Buffer.from(await guest.ask("events", bytes)).toString("hex"), bytes.toString("hex"));
  await settle(guest, everybody);
  check("guest hears them back as well", Buffer.from(guest.take()[0]?.args[0] ?? []).toString("hex"), bytes.toString("hex"));

  await storyOfTheInbox();

  chapter("Who is not let in");
  const stranger = await demoToken("alice", "not the secret of this server at all");
  for (const [what, token] of [["a token signed by a stranger", stranger], ["a token that is no token", "garbage"]]) {
    const refusal = await arrive("mallory", { token }).then(() => null, (error) => error);
    check(`${what} is refused`, refusal?.message?.startsWith("unauthorized: "), true);
    check("  with the reason as data", [refusal?.data?.code, typeof refusal?.data?.message, refusal?.data?.retry], ["unauthorized", "string", false]);
  }
}

async function storyOfTheInbox() {
  chapter("A message for who is away");
  const backEnd = options.admin && new BackEnd(options.admin, options.apiKey);
  const missing = backEnd ? await backEnd.missing() : "Nobody said where the admin port is (--admin).";
  if (missing) return say(`  – left out: ${missing}`);
  // A user of this run alone, so that nothing is left over from another one.
  const carol = `carol-${crypto.randomUUID().slice(0, 8)}`;
  const keep = (text) => backEnd.keep(carol, { event: "note", args: [text], id: text, ttl: "10m" });
  check("a back end leaves two messages for carol, who is away", [await keep("first"), await keep("second")], [1, 2]);
  check("it says the first one again, and the server still has it once", await keep("first"), 1);

  // What carol's phone remembers, as `localStorage` would.
  const storage = new Map();
  const memory = { getItem: (key) => storage.get(key) ?? null, setItem: (key, value) => storage.set(key, value) };
  const handled = new Handled(memory, "carol's phone", (_, args) => args);
  const token = await demoToken(carol, options.secret);
  const open = async () => {
    const shown = [];
    const receive = once(handled, ({ message: [text] }) => shown.push(text));
    const phone = await arrive("carol (phone)", { token, device: "phone", inbox: true }, receive);
    return { phone, shown };
  };
  const { phone, shown } = await open();
  await eventually("carol (phone) gets two messages", () => shown.length >= 2);
  check("carol (phone) comes, and gets both in their order", shown, ["first", "second"]);
  phone.socket.close();
  await keep("third");
  const again = await open();
  await eventually("carol (phone) gets the third message", () => again.shown.length >= 1);
  check("she comes again, and gets what is new and nothing twice", again.shown, ["third"]);
}

/** Waits until something is true. */
async function eventually(what, condition) {
  const giveUp = Date.now() + PATIENCE;
  while (!condition()) {
    if (Date.now() > giveUp) throw new Error(`waited ${PATIENCE} ms in vain: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

/**
 * Connects somebody to the next server in turn; rejects with the error that the client reports. `receive`
 * hears every event from the first on.
 */
function arrive(name, auth, receive) {
  const socket = io(nextUrl(), {
    auth,
    forceNew: true, // each is a tab of its own, not a share of one connection
    reconnection: false,
    transports: [options.transport],
    timeout: PATIENCE,
  });
  const person = new Person(name, socket);
  people.push(person);
  if (receive) socket.onAny(receive);
  return new Promise((resolve, reject) => {
    socket.on("connect", () => resolve(person));
    socket.on("connect_error", reject);
  });
}

/** As `arrive`, for those without whom there is no story. */
async function arriveInStory(name, token) {
  try {
    const person = await arrive(name, token ? { token } : {});
    await person.ask("join", MARKER);
    return person;
  } catch (error) {
    // A refusal says all in its message; an error of the network hides its cause.
    throw new Error(`${name} cannot connect: ${error.description?.message || error.message}`);
  }
}

function nextUrl() {
  return options.urls[people.length % options.urls.length];
}

/**
 * Returns when all that `sender` has caused is heard by `listeners`, or never will be: "hears nothing"
 * must not depend on how long one waits. A marker goes from the sender the way that its other emits
 * go, also between nodes, and overtakes none of them; who hears it has heard all before it. It is
 * repeated because a node may still be subscribing to the marker's room.
 */
async function settle(sender, listeners) {
  const number = ++markers;
  const missing = new Set(listeners.filter((person) => person !== sender));
  const giveUp = Date.now() + PATIENCE;
  while (missing.size > 0) {
    if (Date.now() > giveUp) throw new Error(`${[...missing].map(({ name }) => name).join(", ")} did not hear ${sender.name}'s marker`);
    await sender.ask("publish", { room: MARKER, event: MARKER, data: number });
    await Promise.all([...missing].map((person) => person.ask("whoami")));
    for (const person of missing) if (person.marker >= number) missing.delete(person);
  }
  await sender.ask("whoami");
}

function chapter(title) {
  say(`\n${title}`);
}

/** A sentence of the story, and whether it is true. */
function check(sentence, actual, expected) {
  const [is, should] = [actual, expected].map((value) => JSON.stringify(value, sortedKeys) ?? "nothing");
  const right = is === should;
  say(`  ${right ? "✓" : "✗"} ${sentence}`);
  if (!right) {
    say(`      expected ${should}\n      but got  ${is}`);
    failures.push(`${sentence.trim()}: expected ${should}, got ${is}`);
  }
}

function sortedKeys(_, value) {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return value;
  return Object.fromEntries(Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1)));
}

function say(line) {
  if (!options.quiet) console.log(line);
}

function end() {
  for (const { socket } of people) socket.close();
  if (failures.length) {
    console.error(`\nNot as told:\n${failures.map((failure) => `  - ${failure}`).join("\n")}`);
    process.exit(1);
  }
  say("\nAll went as told.");
  process.exit(0);
}

function readOptions() {
  try {
    const { values, positionals } = parseArgs({
      allowPositionals: true,
      options: {
        admin: { type: "string" },
        "api-key": { type: "string", default: process.env.SWITCHBOARD_API_KEY },
        secret: { type: "string" },
        transport: { type: "string", default: "websocket" },
        quiet: { type: "boolean" },
        help: { type: "boolean", short: "h" },
      },
    });
    if (values.help) {
      console.log(HELP);
      process.exit(0);
    }
    for (const url of [...positionals, values.admin ?? []].flat()) if (!URL.canParse(url) || !/^https?:/.test(url)) throw new Error(`${url} is no http URL`);
    if (!["websocket", "polling"].includes(values.transport)) throw new Error(`${values.transport} is no transport`);
    return {
      urls: positionals.length ? positionals : ["http://localhost:3000"],
      admin: values.admin?.replace(/\/+$/, ""),
      apiKey: values["api-key"],
      secret: values.secret ?? process.env.SWITCHBOARD_SECRET ?? DEV_SECRET,
      transport: values.transport,
      quiet: values.quiet ?? false,
    };
  } catch (error) {
    console.error(`${error.message}\n\n${HELP}`);
    process.exit(2);
  }
}

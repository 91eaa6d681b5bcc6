// A campaign: real clients behind a network that cuts them at random, while numbered messages flow to
// rooms, users and everybody. At the end each client's account says what it should have got and has not.

import { io } from "socket.io-client";
import * as msgpackParser from "socket.io-msgpack-parser";

import { Account } from "./account.mjs";
import { ack, connected } from "./clients.mjs";
import { CUTS, network } from "./proxies.mjs";
import { Random, SEED } from "./random.mjs";
import { token } from "./tokens.mjs";
import { DEADLINE, until } from "./waiting.mjs";

/** The kinds of clients, with the transports of each of their connections. */
export const KINDS = {
  websocket: () => ["websocket"],
  polling: () => ["polling"],
  upgrading: () => ["polling", "websocket"],
  mixed: (random) => random.pick([["websocket"], ["polling"], ["polling", "websocket"]]),
};

/** How often each way is taken. An end in good order comes from the client's side as well. */
const HOW = [...Object.keys(CUTS), "reset", "half open", "by the client"];

/** A client that is cut, comes back by itself, and keeps its account. */
export class Traveller {
  connects = 0;
  losses = 0;
  recovered = 0;
  refused = [];
  changed = [];
  damaged = [];
  story = [];

  /**
   * Connects by way of a network of its own. `servers`: where it may come to, each time another one;
   * `kind`: one of `KINDS`; `user` and `rooms`: whom it belongs to; `streams`: what its account is about; `ways`:
   * how it is cut; `lossy`: servers that may lose what is said just when a client comes back to them.
   */
  static async start(t, { name, servers, kind, parser, user, rooms = [], streams, random, namespace = "", ways = HOW, lossy = [] }) {
    const traveller = new Traveller();
    Object.assign(traveller, { name, servers, kind, rooms, random, ways, account: new Account(streams) });
    traveller.way = await network(t, random.pick(servers).port);
    const socket = io(traveller.way.url + namespace, {
      forceNew: true,
      transports: KINDS[kind](random),
      auth: user && { token: await token(user) },
      reconnectionDelay: 20,
      reconnectionDelayMax: 200,
      timeout: 5_000, // sometimes the client itself waits for nothing
      ...(parser === "msgpack" && { parser: msgpackParser }),
    });
    traveller.socket = socket;
    t.after(() => socket.close());
    socket.io.on("reconnect_attempt", () => {
      socket.io.opts.transports = KINDS[kind](random);
      if (lossy.some(({ port }) => port === traveller.way.target)) traveller.account.begin();
    });
    socket.on("connect", () => traveller.#connected());
    socket.on("disconnect", (reason) => {
      // The client says it also of a connection that ended before the namespace was joined.
      if (traveller.there) traveller.losses++;
      traveller.tell(`disconnected${traveller.there ? "" : " before it was connected"}: ${reason}`);
      traveller.there = false;
    });
    socket.on("connect_error", (error) => traveller.tell(`not connected: ${error.message}`));
    socket.onAny((event, ...args) => traveller.#hear(event, args));
    await connected(socket);
    for (const room of rooms) await ack(socket, "join", room);
    traveller.joined = true;
    traveller.id = socket.id;
    return traveller;
  }

  /** Whether it has come back as often as its connection was lost. */
  get settled() {
    return this.socket.connected && this.connects === this.losses;
  }

  tell(what) {
    this.story.push(`${Math.round(performance.now())} ${what}`);
  }

  async #connected() {
    const { socket } = this;
    this.there = true;
    this.tell(`connected as ${socket.id}${socket.recovered ? ", recovered" : ""}`);
    if (!this.joined) return;
    this.connects++;
    if (socket.recovered) {
      this.recovered++;
      if (socket.id !== this.id) this.changed.push(`${this.id} became ${socket.id}`);
      return;
    }
    this.id = socket.id;
    this.account.begin();
    for (const room of this.rooms) await ack(socket, "join", room).catch(() => {}); // cut before it has joined
  }

  #hear(event, args) {
    // The gateway's `publish` wraps what was said.
    const said = args[0]?.data ?? args[0];
    if (!said?.stream) return;
    const { stream, number, bytes } = said;
    this.tell(`heard ${stream} ${number}`);
    if (!this.account.hear(stream, number)) this.damaged.push(`${stream} ${number} is not for it`);
    if (bytes && (!Buffer.isBuffer(bytes) || bytes.readUInt32BE() !== number)) this.damaged.push(`${stream} ${number} has other bytes`);
  }

  /** Cuts the connection once, and lets the client come back to any of the servers. */
  cut() {
    const how = this.random.pick(this.ways);
    this.tell(`is cut: ${how}`);
    // A client of version 4.8 that closes while it upgrades keeps what comes until then, and asks for it
    // once more when it comes back: it hears that twice, from Node.js as well. No server can know it. One that closes
    // before it is open waits for its own timeout.
    const { engine } = this.socket.io;
    if (how !== "by the client") this.way.cut(how);
    else if (engine.upgrading || engine.readyState !== "open") this.way.cut("reset");
    else engine.close();
    this.way.target = this.random.pick(this.servers).port;
  }
}

/**
 * Cuts the travellers until that many of their connections were lost, stops the speakers, waits until
 * everything has come that comes, and gives the figures of all. `meanwhile(progress)` runs beside it and
 * is told how much of it is done.
 */
export async function campaign(t, { travellers, speakers, cuts, pause = [100, 1500], patience = DEADLINE, meanwhile }) {
  const start = performance.now();
  let made = 0;
  const lost = () => travellers.reduce((sum, { losses }) => sum + losses, 0);
  t.after(() => speakers.forEach((speaker) => speaker.stop().catch(() => {})));
  for (const speaker of speakers) speaker.start();
  const beside = meanwhile?.(() => lost() / cuts);
  await Promise.all(travellers.map(async (traveller) => {
    const { random } = traveller;
    while (lost() < cuts) {
      await new Promise((done) => setTimeout(done, random.between(...pause)));
      traveller.cut();
      made++;
      // Sometimes once more while it comes back: its session was taken, and nobody has told it.
      if (random.chance(0.2)) {
        await new Promise((done) => setTimeout(done, random.between(0, 80)));
        traveller.cut();
        made++;
      }
    }
  }));
  await beside;
  const settled = () => until(
    () => `every lost connection is back: ${travellers.filter((one) => !one.settled).map(({ name, story }) => `${name}:\n${story.slice(-30).join("\n")}`)}`,
    () => travellers.every((one) => one.settled),
    3 * DEADLINE,
  );
  await settled();
  await Promise.all(speakers.map((speaker) => speaker.stop()));
  const sent = Object.assign({}, ...speakers.map((speaker) => speaker.sent));
  await until("everything has come", () => travellers.every(({ account }) => account.isComplete(sent)), patience).catch(() => {});
  // What was torn by the last word comes back as well, and is counted.
  await settled();
  return new Figures({ travellers, sent, made, lost: lost(), seconds: (performance.now() - start) / 1000 });
}

/** What a campaign has shown. */
class Figures {
  constructor({ travellers, sent, made, lost, seconds }) {
    const sum = (count) => travellers.reduce((sum, traveller) => sum + count(traveller), 0);
    const judgements = travellers.map((traveller) => ({ traveller, ...traveller.account.judge(sent) }));
    this.judgements = judgements;
    const count = (what) => judgements.reduce((sum, judgement) => sum + judgement[what].length, 0);
    
    this.clients = travellers.length;
    this.cuts = made;
    this.lostConnections = lost;
    this.connects = sum(({ connects }) => connects);
    this.recovered = sum(({ recovered }) => recovered);
    this.notRecovered = this.connects - this.recovered;
    this.sent = Object.values(sent).reduce((sum, count) => sum + count, 0);
    this.heard = judgements.reduce((sum, { heard }) => sum + heard, 0);
    for (const what of ["missing", "repeated", "disordered", "lost"]) this[what] = count(what);
    this.damaged = sum(({ damaged }) => damaged.length);
    this.changed = sum(({ changed }) => changed.length);
    this.seconds = seconds;
  }

  toString() {
    const { clients, cuts, lostConnections, recovered, notRecovered, sent, heard, missing, repeated, disordered, damaged, changed, lost, seconds } = this;
    return `seed ${SEED}: ${clients} clients, ${cuts} cuts, ${lostConnections} connections lost, ${recovered} recovered, ${notRecovered} not; `
      + `${sent} messages, ${heard} heard, ${missing} missing, ${repeated} repeated, ${disordered} out of order, ${damaged} damaged, ${changed} ids changed, `
      + `${lost} lost where the client was told; ${seconds.toFixed(1)} s`;
  }

  /** The stories of some of those to whom something wrong happened. */
  faults(most = 3) {
    const wrong = ({ traveller, missing, repeated, disordered }) => missing.length + repeated.length + disordered.length + traveller.damaged.length + traveller.changed.length + (traveller.connects - traveller.recovered);
    return this.judgements.filter(wrong).slice(0, most).map(({ traveller, missing, repeated, disordered }) => {
      const { name, kind, damaged, changed, story } = traveller;
      const some = (list) => list.slice(0, 10).join(", ");
      return `--- ${name} (${kind}) missing: ${some(missing)}; repeated: ${some(repeated)}; out of order: ${some(disordered)}; damaged: ${some(damaged)}; ids: ${some(changed)}\n${excerpt(story, [...missing, ...repeated, ...disordered])}`;
    }).join("\n");
  }
}

/** A story without what was heard, but for what is wrong and what came right before and after a connection. */
function excerpt(story, wrong) {
  const matters = (line) => !line?.includes(" heard ") || wrong.some((what) => line.endsWith(` heard ${what}`));
  return story.filter((line, at) => [line, story[at - 1], story[at + 1], story[at + 2]].some(matters)).slice(-80).join("\n");
}

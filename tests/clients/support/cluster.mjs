// A cluster of both kinds of servers on one Redis, and a client on each of them.

import assert from "node:assert/strict";

import { Inbox, ack, connect, connected } from "./clients.mjs";
import { nodeFor } from "./nodes.mjs";
import { redisFor } from "./redis.mjs";
import { serverFor, serverForThisFile } from "./server.mjs";
import { SECRET } from "./tokens.mjs";
import { until } from "./waiting.mjs";

/** The room in which every client of a crew is, whatever its server. */
const ALL = "public:all";
let marks = 0;

export class Cluster {
  /** The servers by name: those in `ours` are Switchboard, those in `nodes` Node.js. */
  servers = {};
  ours = [];
  nodes = [];

  /**
   * Starts Redis and the servers, and waits until each counts all. They end after the test `t` or,
   * without one, after the test file. `ours`: the names of the Switchboard nodes; `nodes`: the
   * options of the Node.js ones by name; `config`: more of the Switchboard nodes' configuration.
   */
  static async start(t, { protocol = "classic", subscribe = "interest", ours = ["a", "b"], nodes = {}, config = {} } = {}) {
    const cluster = new Cluster();
    cluster.protocol = protocol;
    cluster.sharded = protocol === "sharded";
    cluster.redis = await redisFor(t);
    cluster.config = { auth: { hs256_secret: SECRET }, ...config, redis: { ...config.redis, url: cluster.redis.url, protocol, subscribe } };
    // Room channels of its own has who is interested in single rooms only. Streams have none.
    cluster.hearsRooms = (name) => {
      if (protocol === "streams") return false;
      return cluster.ours.includes(name) ? cluster.sharded || subscribe === "interest" : cluster.sharded && nodes[name].mode !== "static";
    };
    for (const name of ours) {
      const settings = { ...cluster.config, node_id: name };
      cluster.servers[name] = t ? await serverFor(t, settings) : await serverForThisFile(settings);
    }
    for (const [name, options] of Object.entries(nodes)) {
      cluster.servers[name] = await nodeFor(t, { redis: cluster.redis.url, adapter: protocol, ...options });
    }
    cluster.ours = ours;
    cluster.nodes = Object.keys(nodes);
    await cluster.complete();
    return cluster;
  }

  /** Waits until all are counted: before, a question would be answered by too few. */
  async complete(size = this.ours.length + this.nodes.length) {
    const counted = this.protocol === "classic" ? "socket.io-request#/#" : "socket.io#/#";
    let last;
    const said = () => this.ours.map((name) => `--- ${name} said:\n${this.servers[name].logs}`).join("\n");
    await until(() => `${size} servers are counted, and not ${last}\n${said()}`, async () => (last = await this.redis.listeners(counted, this)) === size, 15_000);
    if (this.protocol === "streams") await this.reading();
  }

  /**
   * Waits until each Node.js server reads the stream. Until it has read a first entry it begins
   * anew at the end each time, and misses what is added between.
   */
  async reading() {
    const servers = this.nodes.map((name) => this.servers[name]);
    for (const node of servers) await node.run((io) => void io.once("do you read?", () => (globalThis.reads = true)));
    const entry = ["uid", "emitter", "nsp", "/", "type", "9", "data", JSON.stringify({ packet: ["do you read?"] })];
    await until("the Node.js servers read the stream", async () => {
      await this.redis.cli("XADD", "socket.io", "*", ...entry);
      return (await Promise.all(servers.map((node) => node.run(() => globalThis.reads)))).every(Boolean);
    });
  }

  /** Waits until the servers of those names hear of what is sent to the room. */
  async listened(room, names) {
    const expected = new Set(names.filter(this.hearsRooms)).size;
    await until(`${names} hear of ${room}`, async () => (await this.redis.listeners(`socket.io#/#${room}#`, this)) >= expected);
  }

  crew(t, options) {
    return Crew.connect(t, this, options);
  }
}

/** A client on each server, under the server's name, and what they hear. */
class Crew {
  #cluster;
  #inboxes = {};

  /** `options` are those of `connect`, by name. More than one client of a server: `{ a2: … }`. */
  static async connect(t, cluster, options = {}) {
    const crew = new Crew();
    crew.#cluster = cluster;
    for (const name of new Set([...Object.keys(cluster.servers), ...Object.keys(options)])) {
      crew[name] = await connect(t, cluster.servers[name] ?? cluster.servers[name[0]], options[name]);
      crew.#inboxes[name] = new Inbox(crew[name]);
    }
    crew.names = Object.keys(crew.#inboxes);
    await crew.join(ALL, ...crew.names);
    return crew;
  }

  /** Waits until these are cut off, and lets them come back, into the rooms as well. */
  async comeBack(names, rooms) {
    for (const name of names) {
      await until(`${name} is cut off`, () => !this[name].connected, 30_000);
      await connected(this[name].connect());
    }
    for (const room of [ALL, ...rooms]) await this.join(room, ...names);
  }

  ids(...names) {
    return names.map((name) => this[name].id);
  }

  /** Joins, and waits until that is in effect everywhere. */
  async join(room, ...names) {
    for (const name of names) assert.deepEqual(await ack(this[name], "join", room), { ok: true, room });
    // Switchboard's answer says that it hears of the room; the sharded Node.js adapter's does not.
    await this.#cluster.listened(room, names.map((name) => name[0]));
  }

  /** Publishes to a room as a client does. */
  publish(name, room, data, event = "says") {
    return ack(this[name], "publish", { room, event, data });
  }

  /**
   * What has been heard since the last call by whom, as `{ name: [[event, ...args], …] }`, once all
   * that `sender` had sent is there: nothing overtakes on the way from one server to another, so
   * what it sends now arrives after it. Without a sender: all that Redis has already taken.
   */
  async heard(sender = this.#cluster.nodes[0]) {
    const mark = `mark ${++marks}`;
    if (this.#cluster.nodes.includes(sender)) await this.#cluster.servers[sender].run((io, mark) => void io.emit("mark", { data: mark }), mark);
    else await this.publish(sender, ALL, mark, "mark");
    const heard = {};
    for (const name of this.names.filter((name) => name !== sender || this.#cluster.nodes.includes(name))) {
      const inbox = this.#inboxes[name];
      await until(`${name} hears ${mark} of ${sender}`, () => inbox.of("mark").some(([{ data }]) => data === mark));
    }
    for (const name of this.names) {
      const events = this.#inboxes[name].events.splice(0).filter(([event]) => event !== "mark");
      if (events.length) heard[name] = events;
    }
    return heard;
  }
}

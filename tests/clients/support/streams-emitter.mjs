// The emitter for the streams adapter, `@socket.io/redis-streams-emitter`, which is not on npm: it
// writes the entries that `tests/vectors/streams-emitter-*` show.

import notepack from "notepack.io";

const list = (one) => (Array.isArray(one) ? one : [one]);
const hasBinary = (value) => value !== null && typeof value === "object" && (ArrayBuffer.isView(value) || Object.values(value).some(hasBinary));

export class StreamsEmitter {
  #client;
  #namespace;
  #options = { rooms: [], flags: {}, except: [] };

  constructor(client, namespace = "/") {
    this.#client = client;
    this.#namespace = namespace;
  }

  of(namespace) {
    return new StreamsEmitter(this.#client, namespace);
  }

  #with({ rooms = [], except = [], flags = {} }) {
    const copy = this.of(this.#namespace);
    const { rooms: before, flags: set, except: not } = this.#options;
    copy.#options = { rooms: [...before, ...rooms], flags: { ...set, ...flags }, except: [...not, ...except] };
    return copy;
  }

  to(rooms) {
    return this.#with({ rooms: list(rooms) });
  }

  in(rooms) {
    return this.to(rooms);
  }

  except(rooms) {
    return this.#with({ except: list(rooms) });
  }

  get volatile() {
    return this.#with({ flags: { volatile: true } });
  }

  compress(compress) {
    return this.#with({ flags: { compress } });
  }

  #add(type, data) {
    const text = type === 3 && hasBinary(data) ? notepack.encode(data).toString("base64") : JSON.stringify(data);
    return this.#client.xAdd("socket.io", "*", { uid: "emitter", nsp: this.#namespace, type: String(type), data: text });
  }

  /** Resolves when Redis has it. */
  emit(...data) {
    return this.#add(3, { packet: { type: 2, data, nsp: this.#namespace }, opts: this.#options });
  }

  socketsJoin(rooms) {
    this.#add(4, { opts: { ...this.#options, flags: {} }, rooms: list(rooms) });
  }

  socketsLeave(rooms) {
    this.#add(5, { opts: { ...this.#options, flags: {} }, rooms: list(rooms) });
  }

  disconnectSockets(close = false) {
    this.#add(6, { opts: { ...this.#options, flags: {} }, close });
  }

  serverSideEmit(...packet) {
    this.#add(9, { packet });
  }
}

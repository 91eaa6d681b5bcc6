// What a server may find on its channels in Redis when somebody else writes there, too.

import { createRequire } from "node:module";

// It looks for a browser's globals when it is imported.
const { encode } = createRequire(import.meta.url)("notepack.io");

/** Bytes that are random and the same in each run. */
function* randomBytes(seed, count) {
  let state = seed;
  const next = () => (state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0) >>> 24;
  for (let i = 0; i < count; i++) yield Buffer.from(Array.from({ length: 1 + (i % 60) }, next));
}

const WRONG = [null, true, 5, -1.5, 1e300, "text", "", [], [[]], {}, { a: 1 }, Buffer.from([1, 2, 3]), [null, 5, {}, []], "__proto__"];

/** The object with each member, at any depth, replaced by each wrong value, and left out. */
function* wrongTypes(value, keep = () => false) {
  if (typeof value !== "object" || value === null || Buffer.isBuffer(value)) return;
  for (const key of Object.keys(value)) {
    for (const wrong of [...WRONG, undefined]) {
      const copy = Array.isArray(value) ? [...value] : { ...value };
      if (wrong === undefined) delete copy[key];
      else copy[key] = wrong;
      if (!keep(copy)) yield copy;
    }
    for (const inner of wrongTypes(value[key])) yield Array.isArray(value) ? value.map((v, at) => (String(at) === key ? inner : v)) : { ...value, [key]: inner };
  }
}

/** Both encodings; JSON cannot say everything. */
function* bothWays(value) {
  yield encode(value);
  yield Buffer.from(JSON.stringify(value) ?? "");
}

/** Not a message at all. */
export function* noise() {
  yield* randomBytes(1, 400);
  for (const text of ["", "{", "}", "[", "{}", "[]", "null", "true", "5", '"x"', " {}", "\ufeff{}", '{"type":3', "{\"a\":1}{\"b\":2}", "{\"type\":1e999}", "\u0000"]) yield Buffer.from(text);
  for (const value of WRONG) yield* bothWays(value);
  // Deeper than any stack.
  for (const [open, close] of [["[", "]"], ['{"a":', "}"]]) yield Buffer.from(`{"type":3,"uid":"x","nsp":"/","data":${open.repeat(100_000)}1${close.repeat(100_000)}}`);
  yield Buffer.alloc(100_000, 0x91);
  yield Buffer.concat([Buffer.alloc(100_000, 0x81)]);
  // They promise four thousand million elements, and hold none: no memory may be put aside for them.
  for (const head of ["dd", "df", "db", "c6", "c9"]) {
    const huge = Buffer.from(`${head}ffffffff`, "hex");
    yield huge;
    yield Buffer.concat([Buffer.from("93a178", "hex"), huge]);
    yield Buffer.concat([Buffer.from("93a17882a474797065", "hex"), Buffer.from("02a464617461", "hex"), huge]);
    yield Buffer.concat([Buffer.alloc(50, 0x91), huge]);
  }
  yield Buffer.from("c1", "hex");
  yield Buffer.from("93c1c1c1", "hex");
  yield Buffer.alloc(2_000_000, "x");
}

/** Messages of the classic adapter that are wrong in one place, and events that no client may get. */
export function* classicMessages() {
  const broadcast = ["stranger", { type: 2, data: ["noise", 1], nsp: "/" }, { rooms: ["public:nobody"], except: ["x"], flags: { volatile: true } }];
  for (let end = 0; end < encode(broadcast).length; end++) yield encode(broadcast).subarray(0, end);
  yield Buffer.concat([encode(broadcast), Buffer.from([1])]);
  // With another selection it is a broadcast like any other.
  for (const wrong of wrongTypes(broadcast)) yield* bothWays(wrong);
  for (const event of RESERVED) yield encode(["stranger", { type: 2, data: [event, "x"], nsp: "/" }, { rooms: [], except: [], flags: {} }]);
  for (const type of [0, 1, 3, 4, 5, 6, 7, -1, 1e9, "2"]) yield encode(["stranger", { type, data: ["noise"], nsp: "/" }, { rooms: [], except: [], flags: {} }]);

  const opts = { rooms: ["public:nobody"], except: [] };
  const requests = [
    { type: 0, requestId: "r", rooms: ["x"] },
    { type: 1, requestId: "r" },
    { type: 2, opts, rooms: ["x"] },
    { type: 3, opts, rooms: ["x"] },
    { type: 2, requestId: "r", sid: "x", room: "y" },
    { type: 5, requestId: "r", opts },
    { type: 6, requestId: "r", data: ["noise", 1] },
    { type: 7, requestId: "r", packet: { type: 2, data: ["noise"], nsp: "/" }, opts: { ...opts, flags: { timeout: 100 } } },
    { type: 8, requestId: "r", clientCount: 5 },
    { type: 9, requestId: "r", packet: 1 },
    { requestId: "r", sockets: [{ id: "x", handshake: {}, rooms: ["x"], data: {} }] },
    { requestId: "r", rooms: ["x"] },
  ];
  for (const request of requests) for (const wrong of wrongTypes({ uid: "stranger", ...request })) yield* bothWays(wrong);
  // Without a selection that can be read nobody is to be disconnected.
  for (const wrong of [{}, { opts: null }, { opts: 5 }, { opts: "x" }, { sid: 5 }, { sid: null, requestId: null }, { opts: { rooms: 5 } }, { opts: { rooms: { a: 1 } } }]) {
    yield* bothWays({ uid: "stranger", type: 4, close: true, ...wrong });
  }
  yield Buffer.from('{"uid":"s","type":6,"data":["\\ud800",1]}');
  yield Buffer.from('{"uid":"s","type":8,"requestId":"r","clientCount":100000000000000000000000}');
}

/** Messages of the sharded adapter and of that for streams, which concern nobody. */
const OPTS = { rooms: ["public:nobody"], except: ["x"], flags: { volatile: true } };
const PACKET = { type: 2, data: ["noise", 1] };
const MESSAGES = [
  { type: 1 }, { type: 2 }, { type: 13 }, { type: 99 },
  { type: 3, data: { packet: PACKET, opts: OPTS } },
  { type: 3, data: { packet: PACKET, opts: { ...OPTS, flags: { timeout: 100 } }, requestId: "r" } },
  { type: 4, data: { opts: OPTS, rooms: ["x"] } },
  { type: 5, data: { opts: OPTS, rooms: ["x"] } },
  { type: 7, data: { opts: OPTS, requestId: "r" } },
  { type: 8, data: { requestId: "r", sockets: [{ id: "x", handshake: {}, rooms: [], data: {} }] } },
  { type: 9, data: { packet: ["noise", 1], requestId: "r" } },
  { type: 10, data: { requestId: "r", packet: 1 } },
  { type: 11, data: { requestId: "r", clientCount: 3 } },
  { type: 12, data: { requestId: "r", packet: [1] } },
];

/** The same for the sharded adapter. */
export function* shardedMessages() {
  for (const message of MESSAGES) {
    const whole = { uid: "stranger", nsp: "/", ...message };
    const frame = encode(whole);
    for (let end = 0; end < frame.length; end += 3) yield frame.subarray(0, end);
    // With another type it would be another message, for example one that disconnects everybody.
    for (const wrong of wrongTypes(whole)) yield* bothWays(wrong);
  }
  for (const event of RESERVED) yield* bothWays({ uid: "stranger", nsp: "/", type: 3, data: { packet: { type: 2, data: [event, "x"] }, opts: { rooms: [], except: [], flags: {} } } });
  for (const type of [0, 1, 3, 4, 5, 6, 7, -1, 1e9, "2"]) yield* bothWays({ uid: "stranger", nsp: "/", type: 3, data: { packet: { type, data: ["noise"] }, opts: { rooms: [], except: [], flags: {} } } });
  for (const data of [undefined, null, 5, {}, { opts: null }, { opts: 5 }, { opts: { rooms: 5 } }, { opts: { rooms: { a: 1 } } }]) yield* bothWays({ uid: "stranger", nsp: "/", type: 6, data });
  yield Buffer.from('{"uid":"s","nsp":"/","type":3,"data":{"packet":{"type":2,"data":["noise","\\ud800"]},"opts":{"rooms":[],"except":[],"flags":{}}}}');
}

/** Entries of a stream, as their fields: such messages, wrong in one place, and fields that are none. */
export function* streamEntries() {
  const of = (type, data) => ({ uid: "stranger", nsp: "/", type: String(type), data });
  for (const { type, data } of MESSAGES) {
    for (const wrong of wrongTypes({ data })) {
      const text = JSON.stringify(wrong.data);
      if (text !== undefined) yield of(type, text);
      if (wrong.data !== undefined) yield of(type, encode(wrong.data).toString("base64"));
    }
    const whole = of(type, JSON.stringify(data ?? {}));
    for (const field of Object.keys(whole)) {
      const { [field]: _, ...without } = whole;
      yield without;
      for (const wrong of ["", " ", "{", "-1", "99999999999999999999", "\u0000", "\ud800"]) if (!(field === "type" && wrong === "6")) yield { ...whole, [field]: wrong };
    }
    yield { ...whole, seq: "stranger-1", more: "of that" };
  }
  for (const event of RESERVED) yield of(3, JSON.stringify({ packet: { type: 2, data: [event, "x"] }, opts: { rooms: [], except: [], flags: {} } }));
  for (const frame of noise()) for (const type of [3, 4, 9, 99]) yield of(type, frame);
  for (const data of ["null", "5", "{}", '{"opts":null}', '{"opts":{"rooms":5}}']) yield of(6, data);
}

/** The official client drops its connection when one of these comes. */
const RESERVED = ["connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener"];

// What clients in every language write, packet by packet, beside a Node.js server with the same
// handlers: what it takes is taken, what it gives back is given back, where it hangs up so do we.

import assert from "node:assert/strict";
import { createServer } from "node:http";
import { after, describe, it } from "node:test";

import { Server } from "socket.io";
import { Decoder } from "socket.io-parser";

import { ack, connect, connectV2, heard, openV2 } from "./support/clients.mjs";
import { RawSocket, rawSession } from "./support/raw.mjs";
import { exampleForThisFile } from "./support/server.mjs";

const ours = await exampleForThisFile("protocol_server");
const node = await nodeServer();

/** The gateway of the example, in Node.js. */
async function nodeServer() {
  const http = createServer();
  const io = new Server(http, { allowEIO3: true, pingInterval: 300, pingTimeout: 200 });
  for (const name of ["/", "/custom"]) {
    io.of(name).on("connection", (socket) => {
      socket.emit("auth", socket.handshake.auth);
      socket.on("message", (...args) => socket.emit("message-back", ...args));
      socket.on("message-with-ack", (...args) => args.pop()(...args));
    });
  }
  await new Promise((listening) => http.listen(0, "127.0.0.1", listening));
  after(() => io.close());
  return { url: `http://127.0.0.1:${http.address().port}` };
}

const place = '{"_placeholder":true,"num":0}';
const bytes = Buffer.from([1, 2, 3]);

/** Packets that both servers have to understand in the same way: what comes back, or that the connection ends. */
const PACKETS = {
  "a name whose letters are escaped": ['42["\\u006dess\\u0061ge",1]'],
  "a name that another event's handler has, escaped": ['427["message\\u002dwith-ack",1]'],
  "a name with an escaped slash": ['42["a\\/b",1]'],
  "a name with a quote, a backslash and a newline": ['42["a\\"b\\\\c\\nd",1]'],
  "a name beyond ASCII, escaped": ['42["\\u00e9v\\u00e9nement",1]'],
  "a name that is half a character": ['42["\\ud800",1]'],
  "a number as name": ['42[1,"x"]', "42[-1.5e3]", "427[0]"],
  "the name under which such events are kept": ['42["\ue000",["message",1]]', '42["\\ue000",["message",1]]'],
  "spaces where JSON has them": ['42[ "message" , 1 ]', '42[\n"message",\t{ "a" : [ ] } ]'],
  "keys with escapes": ['42["message",{"a\\"b":1,"\\u00e9":{"\\n":2}}]'],
  "keys with escapes and an ack": ['427["message-with-ack",{"a\\"b":1}]'],
  "a half character": ['42["message","\\ud800",{"\\udc00":1}]'],
  "a placeholder without attachments": [`42["message",${place},{"_placeholder":false}]`],
  "the members of a placeholder in another order": ['451-["message",{"num":0,"_placeholder":true}]', bytes],
  "a placeholder in an ack": ['451-7["message-with-ack",{"num":0,"_placeholder":true}]', bytes],
  "a placeholder with more members": ['451-["message",{"_placeholder":true,"num":0,"x":[1]}]', bytes],
  "maps that are no placeholders": [`451-["message",{"_placeholder":false,"num":0},{"num":7},${place}]`, bytes],
  "a placeholder without a number": ['451-["message",{"_placeholder":true}]', bytes],
  "a placeholder out of range": ['451-["message",{"_placeholder":true,"num":1}]', bytes],
  "a placeholder with a negative number": ['451-["message",{"_placeholder":true,"num":-1}]', bytes],
  "an attachment that is meant twice": [`451-["message",${place},[${place}]]`, bytes],
  "an attachment that is not meant": ['451-["message",1]', bytes],
  "ten attachments": [`4510-["message",${Array.from({ length: 10 }, (_, num) => `{"_placeholder":true,"num":${num}}`)}]`, ...Array(10).fill(bytes)],
  "eleven attachments": ['4511-["message",1]', ...Array(11).fill(bytes)],
  "an attachment as text": [`451-["message",${place}]`, "bAQID"],
  "an attachment as text with line breaks": [`451-["message",${place}]`, "bAQ\r\nID\n"],
  "an attachment as text without padding": [`451-["message",${place}]`, "bAQ"],
  "an attachment as text in the alphabet of URLs": [`451-["message",${place}]`, "b-_8="],
  "an empty attachment": [`451-["message",${place}]`, "b"],
  "text in the place of an attachment": [`451-["message",${place}]`, '42["message",1]'],
  "an attachment of nothing": [bytes],
  "no attachments at all": ['450-["message",1]'],
  "attachments that are not counted": ['45-["message",1]'],
  "an upgrade and a noop that mean nothing": ["5", "6", "5probe"],
  "the main namespace, written out": ['42/,["message",1]', '42/,7["message-with-ack",2]'],
  "an ack of nothing": ["43[1]", `461-[${place}]`, bytes],
  "an open packet": ['0{"sid":"x"}'],
  "a pong with something in it": ["3probe"],
  "an event without a name": ["42", "427"],
  "a list that is empty": ["42[]"],
  "a name that is null": ["42[null,1]"],
  "a map in the place of a list": ['42{"message":1}'],
  "text behind the list": ['42["message",1]garbage'],
  "text that breaks off": ['42["message",1'],
  "two lists": ['42["a\\/b"],["message"]'],
  "a reserved name": ['42["connect",1]'],
  "a reserved name, escaped": ['42["\\u0064isconnect",1]'],
  "a packet without a type": ["4"],
  "a type that there is not": ["49"],
  "an engine packet that there is not": ["x"],
  "an event for a namespace that was not joined": ['42/custom,["message",1]'],
  "an event for a namespace that there is not": ['42/nope,["message",1]'],
  "leaving a namespace that was not joined": ["41/nope,"],
  "an ack for a namespace that was not joined": ["43/nope,1[]"],
};

/** Decoded by the official parser, so that it is the same however it is written. */
function decoded(frames) {
  const packets = [];
  const decoder = new Decoder();
  decoder.on("decoded", (packet) => packets.push(packet));
  for (const frame of frames) decoder.add(frame);
  return packets;
}

const MARKER = '42["message","the last one"]';
const isMarker = (frame) => frame === '42["message-back","the last one"]';

async function byWebsocket(t, server, packets) {
  const raw = await RawSocket.connected(t, server, { answersPings: true });
  await raw.next((frame) => frame.startsWith('42["auth"'));
  raw.send(...packets, MARKER);
  const heard = [];
  for (;;) {
    const frame = await raw.next().catch(() => undefined);
    if (frame === undefined || frame === "1") return "closed";
    if (isMarker(frame)) return decoded(heard);
    heard.push(typeof frame === "string" ? frame.slice(1) : frame);
  }
}

async function byPolling(_, server, packets) {
  const session = await rawSession(server);
  await (await session.post("40")).text();
  const asText = packets.map((packet) => (Buffer.isBuffer(packet) ? `b${packet.toString("base64")}` : packet));
  const heard = [];
  let frames = [];
  // The answer to CONNECT and the greeting first, as clients wait for them.
  while (!frames.some((frame) => frame.startsWith('42["auth"'))) frames = await poll(session);
  await (await session.post([...asText, MARKER].join("\x1e"))).text();
  for (;;) {
    const frames = await poll(session);
    for (const frame of frames) {
      if (frame === undefined || frame === "1") return "closed";
      if (isMarker(frame)) return decoded(heard);
      if (frame.startsWith("b")) heard.push(Buffer.from(frame.slice(1), "base64"));
      else if (frame.startsWith("4")) heard.push(frame.slice(1));
    }
  }
}

/** The packets of a poll, heartbeats answered; nothing if the session is over. */
async function poll(session) {
  const response = await session.poll();
  const text = await response.text();
  if (response.status !== 200) return [undefined];
  const frames = text.split("\x1e");
  if (frames.includes("2")) await (await session.post("3")).text();
  return frames;
}

for (const [transport, outcome] of [["websocket", byWebsocket], ["polling", byPolling]]) {
  describe(`by ${transport}, as in Node.js`, { concurrency: 8 }, () => {
    for (const [name, packets] of Object.entries(PACKETS)) {
      it(name, async (t) => {
        const [here, there] = await Promise.all([outcome(t, ours, packets), outcome(t, node, packets)]);
        assert.deepEqual(here, there);
      });
    }
  });
}

describe("what Node.js has no limit for, or no answer", () => {
  const nested = (depth) => `[`.repeat(depth) + `]`.repeat(depth);
  const error = (frame) => JSON.parse(frame.slice(frame.indexOf("[")))[0].error?.code;

  for (const [name, packets, code] of [
    ["lists in lists, as deep as they may be", [`427["message-with-ack",${nested(99)}]`], undefined],
    ["lists in lists, one too deep", [`427["message-with-ack",${nested(100)}]`], "bad_request"],
    ["maps in maps, much too deep", [`427["message-with-ack",${'{"a":'.repeat(5000)}1${"}".repeat(5000)}]`], "bad_request"],
    ["a number beyond all others", ['427["message-with-ack",1e400]'], "bad_request"],
    ["no JSON, and an ack", ['427["message-with-ack",1]garbage'], "bad_request"],
    ["a placeholder out of range, and an ack", ['451-7["message-with-ack",{"_placeholder":true,"num":1}]', bytes], "bad_request"],
    ["eleven attachments, and an ack", ['4511-7["message-with-ack",1]', ...Array(11).fill(bytes)], "too_large"],
    ["a million attachments, which nobody keeps", ['451000000-7["message-with-ack",1]'], "too_large"],
    ["an attachment that is meant eleven times", [`451-7["message-with-ack",${Array(11).fill(place)}]`, bytes], "too_large"],
  ]) {
    it(`${name}: ${code ?? "is taken"}`, async (t) => {
      const raw = await RawSocket.connected(t, ours, { answersPings: true });
      raw.send(...packets);
      const answer = await raw.next((frame) => typeof frame === "string" && frame.startsWith("437["));
      assert.equal(error(answer), code);
    });
  }
});

describe("real clients", () => {
  it("that send attachments as text (forceBase64) are understood", async (t) => {
    for (const transports of [["websocket"], ["polling"]]) {
      const socket = await connect(t, ours, { transports, forceBase64: true });
      assert.deepEqual(await ack(socket, "message-with-ack", bytes, { a: [bytes] }), [bytes, { a: [bytes] }]);
    }
  });

  it("of version 2 give a namespace its query, which is the handshake's auth", async (t) => {
    for (const server of [ours, node]) {
      const socket = openV2({ url: `${server.url}/custom?room=7&token=a%20b` });
      t.after(() => socket.close());
      assert.deepEqual(await heard(socket, "auth"), [{ room: "7", token: "a b" }]);
    }
  });

  it("of every version hear names and keys that have to be escaped", async (t) => {
    for (const open of [connect, connectV2]) {
      const socket = await open(t, ours);
      const said = { 'a"b\\c\nd/é\u2028': "\u0000" };
      const back = heard(socket, "message-back");
      socket.emit("message", said);
      assert.deepEqual(await back, [said]);
    }
  });
});

// Clients with the MessagePack parser send what JSON has no words for. It arrives as in Node.js, or
// is refused to whoever sent it.

import assert from "node:assert/strict";
import { describe, it } from "node:test";

import { encode } from "notepack.io";
import parser from "socket.io-msgpack-parser";

import { Inbox, ack, connect } from "./support/clients.mjs";
import { RawSocket } from "./support/raw.mjs";
import { serverForThisFile } from "./support/server.mjs";

const server = await serverForThisFile({ engine: { parser: "msgpack" } });
const options = { parser };

describe("with the MessagePack parser", () => {
  it("a number is a name like any other", async (t) => {
    const socket = await connect(t, server, options);
    assert.equal((await ack(socket, 1, "x")).error.code, "unknown_event");
    assert.equal((await ack(socket, "whoami")).user, null);
  });

  it("dates, undefined, binary and any keys come back as they went", async (t) => {
    const socket = await connect(t, server, options);
    const said = { 'a"b': [1.5, -7, 2 ** 40], at: new Date(1_700_000_000_000), gone: undefined, bytes: Buffer.from([1, 2]), "é": null };
    assert.deepEqual(await ack(socket, "events", said, 2), said);
  });

  it("eleven binary values are no attachments, and are taken", async (t) => {
    const socket = await connect(t, server, options);
    const bytes = Array.from({ length: 11 }, () => Buffer.from("x"));
    assert.deepEqual(await ack(socket, "events", bytes), bytes);
  });

  it("values too deep in one another are refused, and the connection goes on", async (t) => {
    const socket = await connect(t, server, options);
    const nested = (depth) => Array.from({ length: depth }).reduce((inner) => [inner], 1);
    for (const depth of [100, 130, 1000]) {
      assert.equal((await ack(socket, "events", nested(depth))).error.code, "bad_request", String(depth));
    }
    assert.deepEqual(await ack(socket, "events", nested(99)), nested(99));
  });

  for (const [name, data] of [
    ["a timestamp of a wrong length", [0xc7, 0x04, 0xff, 1, 2, 3, 4]],
    ["a byte that is no MessagePack", [0xc1]],
  ]) {
    it(`${name} reaches nobody`, async (t) => {
      const member = await connect(t, server, options);
      const inbox = new Inbox(member);
      await ack(member, "join", "public:a");
      const raw = new RawSocket(t, server, { answersPings: true });
      const says = (data, id) => raw.send(encode({ type: 2, nsp: "/", data, id }));
      const answer = (id) => raw.next((frame) => Buffer.isBuffer(frame) && frame.includes(encode({ id }).subarray(1)));
      await raw.next((frame) => frame.startsWith?.("0{"));
      raw.send(encode({ type: 0, nsp: "/", data: {} }));
      await raw.next((frame) => Buffer.isBuffer(frame));
      says(["join", "public:a"], 77);
      await answer(77);
      // The value stands where an argument is, written by hand.
      const event = encode({ type: 2, nsp: "/", id: 78, data: ["publish", { room: "public:a", event: "t", data: 123456789 }] });
      const at = event.indexOf(encode(123456789));
      raw.send(Buffer.concat([event.subarray(0, at), Buffer.from(data), event.subarray(at + encode(123456789).length)]));
      says(["publish", { room: "public:a", event: "t", data: "fine" }], 79);
      await Promise.race([answer(79), raw.whenClosed()]);
      await ack(member, "whoami");
      assert.ok(inbox.of("t").every(([{ data }]) => data === "fine"));
      assert.ok(member.connected);
    });
  }
});

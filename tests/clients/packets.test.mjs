// Socket.IO 5 packet by packet, as they stand on the wire, on the example that the official suite uses.

import assert from "node:assert/strict";
import { describe, it } from "node:test";

import { RawSocket } from "./support/raw.mjs";
import { exampleForThisFile } from "./support/server.mjs";

const server = await exampleForThisFile("protocol_server");
const options = { answersPings: true };

/** An engine connection that has not joined a namespace. */
async function engine(t) {
  const raw = new RawSocket(t, server, options);
  await raw.next((frame) => frame.startsWith("0{"));
  return raw;
}

/** A socket on `/` that has read its greeting. */
async function socket(t) {
  const raw = await RawSocket.connected(t, server, options);
  assert.equal(await raw.next(), '42["auth",{}]');
  return raw;
}

describe("CONNECT", () => {
  const greetings = {
    "to / without a payload": ["40", /^40(\{.*\})$/, '42["auth",{}]'],
    "to / with a payload": ['40{"token":"123"}', /^40(\{.*\})$/, '42["auth",{"token":"123"}]'],
    "to /custom without a payload": ["40/custom,", /^40\/custom,(\{.*\})$/, '42/custom,["auth",{}]'],
    "to /custom with a payload": ['40/custom,{"token":"abc"}', /^40\/custom,(\{.*\})$/, '42/custom,["auth",{"token":"abc"}]'],
  };
  for (const [name, [packet, answer, greeting]] of Object.entries(greetings)) {
    it(`${name} is answered with an id, then greeted`, async (t) => {
      const raw = await engine(t);
      raw.send(packet);
      const [, fields] = answer.exec(await raw.next());
      assert.match(JSON.parse(fields).sid, /\S/);
      assert.equal(await raw.next(), greeting);
    });
  }

  it("to a namespace that does not exist is refused in words", async (t) => {
    const raw = await engine(t);
    raw.send("40/random");
    assert.equal(await raw.next(), '44/random,{"message":"Invalid namespace"}');
  });

  it("gives a namespace an id that does not open the session", async (t) => {
    const raw = new RawSocket(t, server, options);
    const { sid: session } = JSON.parse((await raw.next()).slice(1));
    raw.send("40");
    const { sid } = JSON.parse((await raw.next()).slice(2));
    const response = await server.get(`/socket.io/?EIO=4&transport=polling&sid=${sid}`);
    assert.equal(response.status, 400);
    assert.ok(session);
  });

  it("that is broken closes the connection", async (t) => {
    const raw = await engine(t);
    raw.send("4abc");
    await raw.whenClosed();
  });
});

describe("DISCONNECT", () => {
  it("ends the socket of its namespace, and the others go on", async (t) => {
    const raw = await socket(t);
    raw.send("40/custom,");
    await raw.next((frame) => frame.startsWith("42/custom,"));
    raw.send("41/custom,", '42["message","message to main namespace"]');
    assert.equal(await raw.next(), '42["message-back","message to main namespace"]');
  });

  it("leaves a connection that can join again", async (t) => {
    const raw = await socket(t);
    raw.send("41", "40");
    assert.match(await raw.next(), /^40\{/);
    assert.equal(await raw.next(), '42["auth",{}]');
  });
});

describe("EVENT and ACK", () => {
  it("plain", async (t) => {
    const raw = await socket(t);
    raw.send('42["message",1,"2",{"3":[true]}]');
    assert.equal(await raw.next(), '42["message-back",1,"2",{"3":[true]}]');
  });

  it("plain, with an ack", async (t) => {
    const raw = await socket(t);
    raw.send('42456["message-with-ack",1,"2",{"3":[false]}]');
    assert.equal(await raw.next(), '43456[1,"2",{"3":[false]}]');
  });

  it("with bytes, the attachments following in order", async (t) => {
    const raw = await socket(t);
    raw.send('452-["message",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]', Buffer.from([1, 2, 3]), Buffer.from([4, 5, 6]));
    assert.equal(await raw.next(), '452-["message-back",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]');
    assert.deepEqual(await raw.next(), Buffer.from([1, 2, 3]));
    assert.deepEqual(await raw.next(), Buffer.from([4, 5, 6]));
  });

  it("with bytes and an ack", async (t) => {
    const raw = await socket(t);
    raw.send('452-789["message-with-ack",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]', Buffer.from([1, 2, 3]), Buffer.from([4, 5, 6]));
    assert.equal(await raw.next(), '462-789[{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]');
    assert.deepEqual(await raw.next(), Buffer.from([1, 2, 3]));
    assert.deepEqual(await raw.next(), Buffer.from([4, 5, 6]));
  });

  it("in a namespace, with an ack", async (t) => {
    const raw = await engine(t);
    raw.send("40/custom,");
    await raw.next((frame) => frame.startsWith("42/custom,"));
    raw.send('42/custom,7["message-with-ack","x"]');
    assert.equal(await raw.next(), '43/custom,7["x"]');
  });
});

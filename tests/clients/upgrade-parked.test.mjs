// What waits for a client while it upgrades from polling to a websocket: all of it comes, in order.
// The engine puts a packet aside that does not fit into the answer to a poll, and its websockets
// know nothing of it.

import assert from "node:assert/strict";
import { describe, it } from "node:test";

import { ack, connect, upgraded } from "./support/clients.mjs";
import { RawSocket, rawSession } from "./support/raw.mjs";
import { freePorts, serverFor } from "./support/server.mjs";

const frames = (raw, count) => Promise.all(Array.from({ length: count })).then(async () => {
  const heard = [];
  while (heard.length < count) heard.push(await raw.next((frame) => typeof frame !== "string" || frame.startsWith("4")));
  return heard;
});

/** A session that polls and in which `packets` of the client's are echoed, unread but for one poll. */
async function withEchoes(server, packets) {
  const session = await rawSession(server);
  assert.equal((await session.post("40")).status, 200);
  assert.match(await (await session.poll()).text(), /^40/);
  for (const packet of packets) assert.equal((await session.post(packet)).status, 200);
  return session;
}

/** The websocket takes over. */
async function takesOver(t, server, session) {
  const raw = new RawSocket(t, server, { query: `EIO=4&transport=websocket&sid=${session.sid}` });
  await raw.opened();
  raw.send("2probe");
  await raw.next((frame) => frame === "3probe");
  raw.send("5");
  return raw;
}

describe("an upgrade while packets wait", () => {
  const event = (number) => `42["events",${number},"${"x".repeat(12_000)}"]`;

  it("loses none that did not fit into the answer before", async (t) => {
    const server = await serverFor(t, { engine: { max_payload: "20kB" } });
    const session = await withEchoes(server, [0, 1, 2].map(event));
    // One fits, the next one is put aside.
    assert.equal(await (await session.poll()).text(), event(0));
    const raw = await takesOver(t, server, session);
    assert.deepEqual(await frames(raw, 2), [event(1), event(2)]);
    raw.send(event(3));
    assert.deepEqual(await frames(raw, 1), [event(3)]);
  });

  it("loses no attachment", async (t) => {
    const server = await serverFor(t, { engine: { max_payload: "20kB" } });
    const bytes = Buffer.alloc(9_000, 7);
    const binary = `451-["events",{"_placeholder":true,"num":0}]\x1eb${bytes.toString("base64")}`;
    const session = await withEchoes(server, [event(0), binary, event(1)]);
    assert.equal(await (await session.poll()).text(), event(0));
    const raw = await takesOver(t, server, session);
    assert.deepEqual(await frames(raw, 3), ['451-["events",{"_placeholder":true,"num":0}]', bytes, event(1)]);
  });

  it("loses none of the official client's, however large they are", { timeout: 120_000 }, async (t) => {
    const [port] = await freePorts(1);
    const server = await serverFor(t, { admin_listen: `127.0.0.1:${port}` });
    const emit = (body) => fetch(`http://127.0.0.1:${port}/api/v1/emit`, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify({ all: true, event: "n", ...body }) });
    const data = "x".repeat(450_000);
    for (let round = 0; round < 5; round++) {
      const socket = await connect(t, server, { transports: ["polling", "websocket"] });
      const heard = [];
      socket.on("n", (number) => heard.push(number));
      const upgrade = upgraded(socket);
      for (let number = 0; number < 6; number++) assert.equal((await emit({ args: [number, data] })).status, 202);
      await upgrade;
      await ack(socket, "whoami");
      // It is ready for what is volatile, as one that began with a websocket.
      assert.equal((await emit({ args: [6], volatile: true })).status, 202);
      await ack(socket, "whoami");
      assert.deepEqual(heard, [0, 1, 2, 3, 4, 5, 6]);
      socket.disconnect();
    }
  });
});

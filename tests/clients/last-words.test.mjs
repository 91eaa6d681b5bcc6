// What a client says just before it leaves is handled, whatever its size and however it leaves, as by a
// real socket.io server.

import assert from "node:assert/strict";
import { connect as connectTcp } from "node:net";
import { it } from "node:test";

import { Inbox, ack, connect } from "./support/clients.mjs";
import { nodeFor } from "./support/nodes.mjs";
import { redisFor } from "./support/redis.mjs";
import { serverFor } from "./support/server.mjs";
import { TEXT, frame } from "./support/tcp.mjs";
import { until } from "./support/waiting.mjs";

const ROOM = "public:words";
const CLOSE = 8;

/** A websocket whose client is in the room, and has read that it is. */
async function member(t, server) {
  const socket = connectTcp(server.port, "127.0.0.1");
  t.after(() => socket.destroy());
  let heard = "";
  socket.on("data", (chunk) => (heard += chunk.toString("latin1")));
  socket.on("error", () => {});
  const says = (text) => until(`the server says ${text}`, () => heard.includes(text));
  socket.write("GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n");
  await says("0{");
  socket.write(frame(TEXT, "40"));
  await says("40{");
  socket.write(frame(TEXT, `421["join","${ROOM}"]`));
  await says("431[");
  return socket;
}

const said = (event, size) => frame(TEXT, `42["publish",{"room":"${ROOM}","event":"${event}","data":"${"x".repeat(size)}"}]`);

const leavings = {
  "a close frame": [frame(CLOSE, Buffer.from([3, 232]))],
  "the end of its connection": [],
  "what no websocket may send": [Buffer.from([0xff, 0xff])],
};

for (const kind of ["Switchboard", "Node.js"]) {
  for (const [how, last] of Object.entries(leavings)) {
    it(`${kind} hears what was said before ${how}`, async (t) => {
      const server = kind === "Node.js" ? await nodeFor(t, { redis: (await redisFor(t)).url }) : await serverFor(t);
      for (const size of [10, 600, 5_000, 100_000]) {
        const listener = await connect(t, server);
        await ack(listener, "join", ROOM);
        const inbox = new Inbox(listener);
        const socket = await member(t, server);
        // In one go, so that the server has the end in its hands when it looks at the beginning.
        socket.end(Buffer.concat([said("first", size), said("second", size), ...last]));
        await until(`both are heard, ${size}`, () => inbox.events.length === 2);
        assert.deepEqual(inbox.events.map(([event, { data }]) => [event, data.length]), [["first", size], ["second", size]]);
        listener.close();
      }
    });
  }
}

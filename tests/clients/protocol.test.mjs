// The example on which the official protocol suites run, as the real client sees it.

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { Manager } from "socket.io-client";

import { TRANSPORTS, ack, connect, connected, heard } from "./support/clients.mjs";
import { exampleForThisFile } from "./support/server.mjs";
import { until } from "./support/waiting.mjs";

const server = await exampleForThisFile("protocol_server");

/** A socket and the payload of the `auth` event that greets it. */
async function greeted(t, options) {
  let greeting;
  const socket = await connect(t, server, { ...options, onOpen: (opening) => (greeting = heard(opening, "auth")) });
  return { socket, greeting: await greeting };
}

for (const [name, transports] of Object.entries(TRANSPORTS)) {
  describe(`the protocol server over ${name}`, () => {
    for (const namespace of ["/", "/custom"]) {
      it(`greets with the CONNECT payload on ${namespace}`, async (t) => {
        const { greeting } = await greeted(t, { transports, namespace, auth: { token: "123", nested: [{ a: null }] } });
        assert.deepEqual(greeting, [{ token: "123", nested: [{ a: null }] }]);
      });

      it(`greets with an empty object who brings nothing to ${namespace}`, async (t) => {
        assert.deepEqual((await greeted(t, { transports, namespace })).greeting, [{}]);
      });

      it(`answers message with the same arguments on ${namespace}`, async (t) => {
        const { socket } = await greeted(t, { transports, namespace });
        for (const args of [[], [1], [1, "2", { 3: [false] }], [Buffer.from([1, 2, 3]), "mixed", [Buffer.alloc(0)]]]) {
          const back = heard(socket, "message-back");
          socket.emit("message", ...args);
          assert.deepEqual(await back, args);
        }
      });

      it(`acknowledges message-with-ack with its arguments on ${namespace}`, async (t) => {
        const { socket } = await greeted(t, { transports, namespace });
        assert.deepEqual(await ack(socket, "message-with-ack", 1, "2", { 3: [false] }), [1, "2", { 3: [false] }]);
        assert.deepEqual(await ack(socket, "message-with-ack", Buffer.from([4, 5]), Buffer.from([6])), [Buffer.from([4, 5]), Buffer.from([6])]);
      });
    }
  });
}

describe("the protocol server", () => {
  it("keeps the namespaces of one connection apart", async (t) => {
    const manager = new Manager(server.url, { transports: ["websocket"], reconnection: false });
    const [home, custom] = [manager.socket("/"), manager.socket("/custom")];
    t.after(() => manager._close());
    await Promise.all([connected(home), connected(custom)]);
    const backs = [];
    home.on("message-back", () => backs.push("/"));
    custom.on("message-back", () => backs.push("/custom"));
    custom.emit("message", "only here");
    await until("the answer", () => backs.length > 0);
    assert.deepEqual(await ack(home, "message-with-ack", "marker"), "marker");
    assert.deepEqual(backs, ["/custom"]);

    custom.disconnect();
    assert.equal(await ack(home, "message-with-ack", "still here"), "still here");
  });

  it("keeps a client connected over many of its short heartbeats", async (t) => {
    const { socket } = await greeted(t, {});
    let pings = 0;
    socket.io.on("ping", () => pings++);
    await until("five heartbeats", () => pings >= 5);
    assert.ok(socket.connected);
  });
});

// The binary's gateway lives on `/`. A namespace that nobody serves is refused, and only that.

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { Manager } from "socket.io-client";

import { ack, connected, connect, refusal } from "./support/clients.mjs";
import { serverForThisFile } from "./support/server.mjs";

const server = await serverForThisFile();

describe("a namespace that does not exist", () => {
  for (const transports of [["websocket"], ["polling"]]) {
    it(`is refused as the client expects it (${transports[0]})`, async (t) => {
      const error = await refusal(t, server, { namespace: "/nowhere", transports });
      assert.equal(error.message, "Invalid namespace");
    });
  }

  it("does not disturb its neighbour on the same connection", async (t) => {
    const manager = new Manager(server.url, { transports: ["websocket"], reconnection: false });
    const [home, nowhere] = [manager.socket("/"), manager.socket("/nowhere")];
    t.after(() => manager._close());
    await Promise.all([connected(home), assert.rejects(connected(nowhere), /Invalid namespace/)]);
    assert.equal((await ack(home, "whoami")).namespace, "/");
  });

  it("may have the oddest name", async (t) => {
    for (const namespace of ["/a/b/c", "/häuser", "/%00", "/constructor", "/__proto__", `/${"n".repeat(2_000)}`]) {
      assert.equal((await refusal(t, server, { namespace })).message, "Invalid namespace", namespace.slice(0, 20));
    }
    assert.equal((await ack(await connect(t, server), "whoami")).namespace, "/");
  });
});

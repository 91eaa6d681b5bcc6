// A broadcast inside of a sampled trace has a member more than the adapters of Node.js know. They
// leave it alone, and so does a Switchboard that exports no traces: the frames of
// `tests/traced`, which a unit test compares with what the server writes, do what any others do.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { describe, it } from "node:test";

import notepack from "notepack.io";
import { createClient } from "redis";

import { Inbox, heard } from "./support/clients.mjs";
import { Cluster } from "./support/cluster.mjs";
import { until } from "./support/waiting.mjs";

const clusters = {
  classic: { protocol: "classic", nodes: { n: { client: "redis" }, m: { client: "ioredis", specific: true } } },
  sharded: { protocol: "sharded", nodes: { n: { mode: "dynamic" }, m: { mode: "dynamic-private" } } },
};

for (const [format, options] of Object.entries(clusters)) {
  describe(`a frame with a trace, ${format}`, async () => {
    const cluster = await Cluster.start(undefined, { ...options, ours: ["a"] });
    const names = ["a", "m", "n"];
    const frame = (kind) => {
      const { channel, payload_base64 } = JSON.parse(readFileSync(new URL(`../traced/${format}-${kind}.json`, import.meta.url)));
      return [channel, Buffer.from(payload_base64, "base64")];
    };
    const connection = async (t) => {
      const client = await createClient({ url: cluster.redis.url }).on("error", () => {}).connect();
      t.after(() => client.destroy());
      return client;
    };
    const publish = (client, frame) => client.sendCommand([cluster.sharded ? "SPUBLISH" : "PUBLISH", ...frame]);

    it("reaches every client once", async (t) => {
      const crew = await cluster.crew(t);
      const inboxes = names.map((name) => new Inbox(crew[name]));
      const [channel, bytes] = frame("broadcast");
      assert.ok(bytes.includes("traceparent"));
      await publish(await connection(t), [channel, bytes]);
      await until("all have heard it", () => inboxes.every((inbox) => inbox.of("says").length));
      await crew.heard("a");
      for (const inbox of inboxes) assert.deepEqual(inbox.of("says"), [["hello", 1]]);
    });

    it("asks every client, and each answer comes", async (t) => {
      const crew = await cluster.crew(t);
      const answers = [];
      const listener = await connection(t);
      const take = (bytes) => answers.push(bytes[0] === 0x7b ? JSON.parse(bytes) : notepack.decode(bytes));
      if (cluster.sharded) await listener.sSubscribe("socket.io#/#traced#", take, true);
      else await listener.subscribe(["socket.io-response#/#", "socket.io-response#/#traced#"], take, true);
      for (const name of names) crew[name].on("says", (text, number, answer) => answer(`${name} ${text} ${number}`));
      const all = Promise.all(names.map((name) => heard(crew[name], "says")));
      await publish(await connection(t), frame("ask"));
      await all;
      const of = (member) => answers.map((answer) => (answer.data ?? answer)[member]).filter((value) => value !== undefined).flat().sort();
      await until("all have answered", () => of("packet").length === names.length && of("clientCount").length === names.length);
      assert.deepEqual(of("packet"), ["a hello 1", "m hello 1", "n hello 1"]);
      assert.deepEqual(of("clientCount"), [1, 1, 1]);
    });

    it("ends no Node.js server", () => {
      for (const name of cluster.nodes) assert.equal(cluster.servers[name].ended, undefined, cluster.servers[name].logs);
    });
  });
}

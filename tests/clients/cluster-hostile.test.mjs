// Anything may be published on a server's channels: by a program with a bug, of another version, or
// with bad intent. The server skips what it cannot use, and goes on.

import assert from "node:assert/strict";
import { describe, it } from "node:test";

import { createClient } from "redis";

import { ack } from "./support/clients.mjs";
import { Cluster } from "./support/cluster.mjs";
import { classicMessages, noise, shardedMessages, streamEntries } from "./support/garbage.mjs";
import { memoryOf } from "./support/server.mjs";
import { Stream } from "./support/steady.mjs";
import { token } from "./support/tokens.mjs";

const clusters = {
  "classic, subscribed to interest": { protocol: "classic", subscribe: "interest" },
  "classic, subscribed to all": { protocol: "classic", subscribe: "all" },
  sharded: { protocol: "sharded", subscribe: "interest" },
  streams: { protocol: "streams" },
};

for (const [name, options] of Object.entries(clusters)) {
  describe(`rubbish on the channels: ${name}`, async () => {
    const cluster = await Cluster.start(undefined, options);
    const { a, b } = cluster.servers;
    const flood = [...noise(), ...(cluster.protocol === "classic" ? classicMessages() : shardedMessages())];

    const flooded = { lines: [] };

    it("the servers stay up and deliver everything else", { timeout: 120_000 }, async (t) => {
      const crew = await cluster.crew(t, { a: { auth: { token: await token("alice") } }, a2: {}, b2: {} });
      const stream = await Stream.start(t, crew.a, { local: crew.a2, remote: crew.b });
      await stream.flows("remote");
      const marks = [a, b].map((server) => server.logs.length);
      const lost = [];
      for (const each of crew.names) crew[each].on("disconnect", (reason) => lost.push([each, reason]));

      const client = await createClient({ url: cluster.redis.url }).on("error", () => {}).connect();
      t.after(() => client.destroy());
      // As Redis knows them: the common ones, the servers' own ones, and those of rooms; beside
      // them those that patterns take in.
      const channels = new Set(await cluster.redis.cli("PUBSUB", cluster.sharded ? "SHARDCHANNELS" : "CHANNELS"));
      for (const channel of ["socket.io#/#", "socket.io#/##", `socket.io#/#${crew.a.id}#`, `socket.io#/#${stream.room}#`]) channels.add(channel);
      assert.ok(channels.size >= 6, [...channels].join());
      for (const channel of channels) {
        await Promise.all(flood.map((frame) => client.sendCommand([cluster.sharded ? "SPUBLISH" : "PUBLISH", channel, frame])));
        await stream.flows("remote"); // the servers keep up
      }
      if (cluster.protocol === "streams") {
        const entries = [...streamEntries()];
        // In parts, for some are large.
        for (let at = 0; at < entries.length; at += 500) {
          const some = entries.slice(at, at + 500);
          await Promise.all(some.map((fields) => client.sendCommand(["XADD", "socket.io", "MAXLEN", "~", "10000", "*", ...Object.entries(fields).flat()])));
          await stream.flows("remote");
        }
        t.diagnostic(`${entries.length} entries in the stream`);
      }
      t.diagnostic(`${flood.length} frames on each of ${channels.size} channels`);

      await stream.flows("remote");
      await stream.stop();
      for (const each of ["local", "remote"]) t.diagnostic(`${each}: the longest way took ${await stream.assertWhole(each)} ms`);
      assert.deepEqual(lost, [], "no client was cut off");
      for (const each of crew.names) {
        const { rooms } = await ack(crew[each], "whoami");
        assert.ok(rooms.includes("public:all") && rooms.includes(crew[each].id), `${each} is in ${rooms}`);
      }
      await crew.heard("a"); // and broadcasts of both directions arrive
      await crew.heard("b");
      for (const [number, server] of [a, b].entries()) {
        assert.equal((await server.get("/readyz")).status, 200);
        flooded.lines.push(server.logs.slice(marks[number]).trim().split("\n"));
        const memory = Math.round(await memoryOf(server));
        t.diagnostic(`memory: ${memory} MB`);
        assert.ok(memory < 500, `${memory} MB`);
      }
    });

    it("the servers say little about it", () => {
      assert.equal(flooded.lines.length, 2);
      for (const lines of flooded.lines) {
        assert.doesNotMatch(lines.join("\n"), /panic/i);
        assert.ok(lines.length < 50, `${lines.length} lines, the last ones:\n${lines.slice(-5).join("\n")}`);
      }
    });
  });
}

// Servers that ask each other, as Node.js programs do with `serverSideEmitWithAck`: a node of ours
// that does not know the event holds up nobody.

import assert from "node:assert/strict";
import { describe, it } from "node:test";

import { Cluster } from "./support/cluster.mjs";

describe("a question among Node.js servers", { concurrency: 2 }, () => {
  for (const protocol of ["classic", "sharded", "streams"]) {
    it(`is answered without a value by a node of ours that has no handler, ${protocol}`, { timeout: 120_000 }, async (t) => {
      const { servers: { n, m } } = await Cluster.start(t, { protocol, ours: ["a"], nodes: { n: {}, m: {} } });
      await m.run((io) => void io.on("question", (data, answer) => answer({ heard: data })));
      // As a Node.js server does whose handler calls back without a value.
      const answers = await n.run((io) => io.serverSideEmitWithAck("question", 7));
      assert.equal(answers.length, 2);
      assert.deepEqual(answers.filter((answer) => answer), [{ heard: 7 }]);
    });
  }
});

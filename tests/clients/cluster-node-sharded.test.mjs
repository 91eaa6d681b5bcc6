// Switchboard and Node.js servers with the sharded Redis adapter are one cluster, in each of its modes.

import { describe } from "node:test";

import { andTheyLivedOn, story } from "./support/story.mjs";

// All servers of a cluster must agree on where a room's events go. In the static mode that is the
// common channel, and Switchboard sends there when it subscribes to all.
const clusters = { dynamic: "interest", "dynamic-private": "interest", static: "all" };

for (const [mode, subscribe] of Object.entries(clusters)) {
  describe(`sharded, Node.js in the mode ${mode}, Switchboard subscribes to ${subscribe}`, async () => {
    const nodes = { n: { client: "redis", mode }, m: { client: "ioredis", mode } };
    andTheyLivedOn(await story({ protocol: "sharded", subscribe, nodes }));
  });
}

// Switchboard and Node.js servers with the classic Redis adapter are one cluster.

import { describe } from "node:test";

import { Emitter } from "@socket.io/redis-emitter";

import { emitterStory } from "./support/emitter-story.mjs";
import { andTheyLivedOn, story } from "./support/story.mjs";

// Both packages that speak to Redis, and both ways of answering, are in each cluster.
const nodes = { n: { client: "redis" }, m: { client: "ioredis", specific: true } };

for (const subscribe of ["interest", "all"]) {
  describe(`classic, Switchboard subscribes to ${subscribe}`, async () => {
    const cluster = await story({ protocol: "classic", subscribe, nodes });
    await emitterStory(cluster, Emitter);
    andTheyLivedOn(cluster);
  });
}

// Switchboard and Node.js servers with the Redis streams adapter are one cluster.

import { describe } from "node:test";

import { emitterStory } from "./support/emitter-story.mjs";
import { andTheyLivedOn, story } from "./support/story.mjs";
import { StreamsEmitter } from "./support/streams-emitter.mjs";

// Both packages that speak to Redis.
const nodes = { n: { client: "redis" }, m: { client: "ioredis" } };

describe("streams", async () => {
  const cluster = await story({ protocol: "streams", nodes });
  await emitterStory(cluster, StreamsEmitter);
  andTheyLivedOn(cluster);
});

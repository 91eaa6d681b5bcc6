// The ports of the tests themselves: one that a test was given is its own, also while nobody listens there.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { it } from "node:test";
import { promisify } from "node:util";

import { freePorts } from "./support/server.mjs";

// Of 4500, so that processes that knew nothing of each other would agree on about nine.
const COUNT = 200;

it("no two test processes are given the same port", async () => {
  const own = await freePorts(COUNT);
  const script = `import { freePorts } from "./support/server.mjs"; console.log(JSON.stringify(await freePorts(${COUNT})));`;
  const { stdout } = await promisify(execFile)(process.execPath, ["--input-type=module", "--eval", script], { cwd: import.meta.dirname, timeout: 15_000 });
  const others = JSON.parse(stdout);
  assert.equal(new Set([...own, ...others]).size, 2 * COUNT);
});

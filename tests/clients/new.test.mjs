// A project of `switchboard new` builds, passes its tests and serves the official client as its README says.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { copyFile, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { describe, it } from "node:test";
import { promisify } from "node:util";

import { ack, connect, heard, refusal } from "./support/clients.mjs";
import { BIN, runBinary, startProgram } from "./support/server.mjs";

const exec = promisify(execFile);
const CHECKOUT = join(import.meta.dirname, "../..");
const NAME = "zoo"; // behind all other names where imports are sorted

// With the libraries that are built already, as far as they are built in the same way.
const TARGET = dirname(dirname(BIN));

// What is built for this test alone is not looked at by a debugger, nor built a second time. The other libraries
// stay as they are: those with the same features are there already.
const QUICK = ["switchboard", NAME].flatMap((name) => ["--config", `profile.dev.package.${name}.debug=false`]);

async function token(user, team) {
  const { stdout } = await runBinary(["token", "--dev", "--user", user, "--claim", `team="${team}"`]);
  return stdout.trim();
}

describe("a new project", () => {
  it("builds, passes its tests and serves clients", async (t) => {
    const dir = await mkdtemp(join(tmpdir(), "switchboard-new-"));
    t.after(() => rm(dir, { recursive: true, force: true }));
    await exec(BIN, ["new", NAME, "--path", CHECKOUT], { cwd: dir });
    const project = join(dir, NAME);
    // The versions that are here already.
    await copyFile(join(CHECKOUT, "Cargo.lock"), join(project, "Cargo.lock"));
    const env = { ...process.env, CARGO_TARGET_DIR: TARGET, CARGO_INCREMENTAL: "0" };
    await exec("cargo", ["fmt", "--check"], { cwd: project });
    const tests = await exec("cargo", ["test", "--offline", ...QUICK], { cwd: project, env, timeout: 600_000 });
    assert.match(tests.stdout, /test result: ok\. 3 passed/);

    const server = await startProgram(join(TARGET, "debug", NAME), { args: ["--dev"], cwd: project });
    t.after(() => server.kill());
    const member = async (user, team) => connect(t, server, { auth: { token: await token(user, team) } });
    const [ada, bob] = [await member("ada", "kitchen"), await member("bob", "kitchen")];
    const added = heard(bob, "task:added");
    const task = { number: 1, title: "peel potatoes", by: "ada" };
    assert.deepEqual(await ack(ada, "task:add", "peel potatoes"), task);
    assert.deepEqual(await added, [task]);
    assert.deepEqual(await ack(bob, "task:list"), [task]);
    assert.equal((await ack(bob, "task:add", "")).error.code, "bad_request");
    assert.equal((await ack(bob, "task:eat")).error.code, "unknown_event");
    assert.match((await refusal(t, server)).message, /^unauthorized: /);
    assert.deepEqual(await server.stop(), { code: 0, signal: null });
  });
});

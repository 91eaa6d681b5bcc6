// The demo's exit code is its verdict, so it has to be right in both directions.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { join } from "node:path";
import { describe, it } from "node:test";

import { freePorts, serverFor, startServer } from "./support/server.mjs";
import { SECRET } from "./support/tokens.mjs";
import { within } from "./support/waiting.mjs";

const CLIENT_DEMO = join(import.meta.dirname, "../../client-demo");

const demo = (t, ...args) => run(t, "demo.mjs", ...args);

/** Runs a program of the demo; returns `{ code, out, err }`. */
async function run(t, program, ...args) {
  const { SWITCHBOARD_SECRET: _, ...env } = process.env;
  const child = spawn(process.execPath, [join(CLIENT_DEMO, program), ...args], { env, stdio: ["ignore", "pipe", "pipe"] });
  t.after(() => child.kill("SIGKILL"));
  let [out, err] = ["", ""];
  child.stdout.on("data", (chunk) => (out += chunk));
  child.stderr.on("data", (chunk) => (err += chunk));
  const code = await within(60_000, "the demo ends", new Promise((done) => child.on("close", done)));
  return { code, out, err };
}

describe("the demo", { concurrency: 2 }, () => {
  it("ends with 0 on a server in development mode, without being told a secret", async (t) => {
    const server = await startServer({}, { args: ["--dev"] });
    t.after(() => server.kill());
    const { code, out, err } = await demo(t, server.url);
    assert.equal(code, 0, out + err);
    assert.match(out, /alice \(tab 2\) hears it too, exactly once/);
    assert.match(out, /bob hears nothing/);
    assert.match(out, /All went as told/);
    assert.doesNotMatch(out, /✗/);
  });

  it("tells of messages for who is away where there is an inbox, and else leaves that out", async (t) => {
    const [port] = await freePorts(1);
    const server = await serverFor(t, {}, { args: ["--dev", "--admin-listen", `127.0.0.1:${port}`] });
    for (const transport of ["websocket", "polling"]) {
      const { code, out, err } = await demo(t, "--transport", transport, "--admin", `http://127.0.0.1:${port}/`, server.url);
      assert.equal(code, 0, out + err);
      assert.match(out, /✓ she comes again, and gets what is new and nothing twice/);
    }
    assert.match((await demo(t, server.url)).out, /left out: Nobody said where the admin port is/);
    const [other] = await freePorts(1);
    const poor = await serverFor(t, { auth: { hs256_secret: SECRET }, admin_listen: `127.0.0.1:${other}` });
    const { code, out } = await demo(t, "--admin", `http://127.0.0.1:${other}`, "--secret", SECRET, poor.url);
    assert.equal(code, 0, out);
    assert.match(out, /left out: This server has no inbox/);
  });

  it("ends with 0 on another server, if it is told the secret", async (t) => {
    const server = await serverFor(t, { auth: { hs256_secret: SECRET } });
    const { code, out, err } = await demo(t, "--quiet", "--secret", SECRET, server.url);
    assert.equal(code, 0, err);
    assert.equal(out + err, "");
  });

  it("tells its story over polling as well", async (t) => {
    const server = await serverFor(t, { auth: { hs256_secret: SECRET } });
    const { code, err } = await demo(t, "--quiet", "--transport", "polling", "--secret", SECRET, server.url);
    assert.equal(code, 0, err);
  });

  it("ends with 1 and says why when the server has another secret", async (t) => {
    const server = await serverFor(t, { auth: { hs256_secret: SECRET } });
    const { code, err } = await demo(t, server.url);
    assert.equal(code, 1);
    assert.match(err, /alice \(tab 1\) cannot connect: unauthorized: /);
  });

  it("ends with 1 when the server does not do as told: here it knows nobody", async (t) => {
    const server = await serverFor(t, { auth: { mode: "none" } });
    const { code, err } = await demo(t, "--quiet", server.url);
    assert.equal(code, 1);
    assert.match(err, /the server knows alice \(tab 1\) as alice/);
    assert.match(err, /alice \(tab 2\) hears it too, exactly once/);
    assert.match(err, /a token that is no token is refused/);
  });

  it("ends with 1 when nobody listens", async (t) => {
    const [port] = await freePorts(1);
    const { code, err } = await demo(t, `http://127.0.0.1:${port}`);
    assert.equal(code, 1);
    assert.match(err, /ECONNREFUSED/);
  });

  it("ends with 2 when it is not used as meant", async (t) => {
    const { code, err } = await demo(t, "not-a-url");
    assert.equal(code, 2);
    assert.match(err, /not-a-url is no http URL/);
    assert.equal((await demo(t, "--help")).code, 0);
  });
});

describe("the crowd", { concurrency: 2 }, () => {
  it("ends with 0 if all hear each other at the end, whatever happened before", async (t) => {
    const server = await serverFor(t);
    const { code, out, err } = await run(t, "crowd.mjs", "--clients", "3", "--seconds", "1", server.url);
    assert.equal(code, 0, out + err);
    assert.match(out, /All 3 are connected and hear each other/);
  });

  it("ends with 1 if they do not: here they are on two servers that have nothing between them", async (t) => {
    const servers = await Promise.all([serverFor(t), serverFor(t)]);
    const { code, err } = await run(t, "crowd.mjs", "--clients", "2", "--seconds", "1", ...servers.map(({ url }) => url));
    assert.equal(code, 1);
    assert.match(err, /0 \(websocket\) does not hear 1/);
  });

  it("ends with 2 when it is not used as meant", async (t) => {
    assert.equal((await run(t, "crowd.mjs", "--clients", "none")).code, 2);
    assert.equal((await run(t, "crowd.mjs", "--help")).code, 0);
  });
});

// `switchboard --dev` as somebody meets it who tries it out: what it says, and how it ends.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { describe, it } from "node:test";

import { ack, connect, connectWith, disconnected } from "./support/clients.mjs";
import { BackEnd } from "./support/kept.mjs";
import { BIN, cleanEnvironment, freePorts, retryingBusyPorts } from "./support/server.mjs";
import { DEADLINE, until, within } from "./support/waiting.mjs";

/** `switchboard --dev` with these streams, ended after the test; `url` answers. */
async function dev(t, { stdio = ["ignore", "pipe", "pipe"], args = [], env = {}, close = [] } = {}) {
  return retryingBusyPorts(async () => {
    const [port] = await freePorts(1);
    const child = spawn(BIN, ["--dev", "--listen", `127.0.0.1:${port}`, ...args], { env: { ...cleanEnvironment(), ...env }, stdio });
    t.after(() => child.kill("SIGKILL"));
    const server = { child, port, url: `http://127.0.0.1:${port}`, said: "", logs: "", exited: once(child, "exit").then(([code]) => code) };
    for (const stream of close) child[stream].destroy();
    if (!close.includes("stdout")) child.stdout?.on("data", (chunk) => (server.said += chunk));
    if (!close.includes("stderr")) child.stderr?.on("data", (chunk) => (server.logs += chunk));
    await until("the server answers", () => {
      if (child.exitCode !== null) throw new Error(`it ended with ${child.exitCode}: ${server.logs}`);
      return fetch(`${server.url}/healthz`).then(({ ok }) => ok, () => false);
    }, 15_000);
    return server;
  });
}

describe("switchboard --dev", { concurrency: 2 }, () => {
  it("says where it is, gives tokens that are good, and says what to do next", async (t) => {
    const server = await dev(t);
    await until("all is said", () => server.said.includes("Ctrl-C"));
    assert.match(server.said, new RegExp(`Switchboard for development: ${server.url} `));
    // The admin port is another one if the default one is taken.
    const admin = /^Administration: (http:\/\/[0-9.:]+)\//m.exec(server.said)[1];
    const named = admin.endsWith(":3001") ? "" : ` ADMIN=${admin}`;
    assert.match(server.said, new RegExp(`^ +make page PORT=${server.port}${named}$`, "m"));
    const token = /A token for alice.*\n(\S+)/.exec(server.said)[1];
    assert.equal((await ack(await connectWith(t, server, token), "whoami")).user, "alice");
    assert.doesNotMatch(server.logs, /WARN/);
  });

  it("has an inbox in memory, and says so, unless told otherwise", async (t) => {
    const [port] = await freePorts(1);
    const server = await dev(t, { args: ["--admin-listen", `127.0.0.1:${port}`] });
    await until("all is said", () => server.said.includes("Ctrl-C"));
    assert.match(server.said, /^Messages for who is away wait in memory \(the inbox\), and are gone when the server ends\.$/m);
    assert.match(server.said, new RegExp(`ADMIN=http://127\\.0\\.0\\.1:${port}$`, "m"));
    await new BackEnd(port).kept("alice", { event: "note", args: ["you were away"] });
    const token = /A token for alice.*\n(\S+)/.exec(server.said)[1];
    const got = [];
    await connect(t, server, { auth: { token }, onOpen: (socket) => socket.on("note", (text, answer) => (got.push(text), answer())) });
    await until("the message comes", () => got.length > 0);
    assert.deepEqual(got, ["you were away"]);

    const [other] = await freePorts(1);
    const without = await dev(t, { args: ["--admin-listen", `127.0.0.1:${other}`], env: { SWITCHBOARD_INBOX__ENABLED: "false" } });
    await until("all is said", () => without.said.includes("Ctrl-C"));
    assert.doesNotMatch(without.said, /inbox/);
    assert.equal((await new BackEnd(other).keep("alice", { event: "note" })).status, 404);
  });

  it("ends at once with Ctrl-C, whoever is connected, with code 0", async (t) => {
    const server = await dev(t);
    const clients = await Promise.all([connect(t, server), connect(t, server, { transports: ["polling"] }), connect(t, server)]);
    const gone = Promise.all(clients.map((client) => disconnected(client)));
    const before = performance.now();
    server.child.kill("SIGINT");
    assert.equal(await within(DEADLINE, "the server ends", server.exited), 0);
    t.diagnostic(`it ended after ${Math.round(performance.now() - before)} ms; drain.spread would be 10 s elsewhere`);
    await gone;
  });

  it("ends in time even if something does not let it go", async (t) => {
    // The spread is asked for, so the clients would stay for an hour.
    const server = await dev(t, { args: ["--config", new URL("./support/slow-drain.toml", import.meta.url).pathname] });
    await connect(t, server);
    server.child.kill("SIGINT");
    assert.equal(await within(DEADLINE, "the server ends", server.exited), 0);
  });

  for (const stream of ["stdout", "stderr"]) {
    it(`goes on when nobody reads its ${stream} any more`, async (t) => {
      const server = await dev(t, { close: [stream], args: ["--log-level", "debug"] });
      // Each of these is a line of the log.
      for (let n = 0; n < 5; n++) {
        const socket = await connect(t, server);
        assert.equal((await ack(socket, "whoami")).user, null);
        socket.disconnect();
      }
      server.child.kill("SIGTERM");
      assert.equal(await within(DEADLINE, "the server ends", server.exited), 0, server.logs);
      assert.doesNotMatch(server.logs, /panicked/);
    });
  }

  it("goes on when its output is closed from the start", async (t) => {
    const server = await dev(t, { stdio: ["ignore", "ignore", "ignore"] });
    assert.equal((await ack(await connect(t, server), "whoami")).user, null);
  });
});

describe("a command", () => {
  const outcome = async (args, stdio) => {
    const child = spawn("/bin/sh", ["-c", `exec "$0" "$@" ${stdio}`, BIN, ...args], { env: cleanEnvironment(), stdio: ["ignore", "pipe", "pipe"] });
    let said = "";
    child.stderr.on("data", (chunk) => (said += chunk));
    const [code] = await within(DEADLINE, "it ends", once(child, "close"));
    return { code, said };
  };

  it("fails if what it has to say cannot be written", async () => {
    const { code, said } = await outcome(["config"], "> /dev/full");
    assert.equal(code, 1);
    assert.match(said, /^error: cannot write to standard output: No space left on device/m);
  });

  it("does not fail if its reader has seen enough", async () => {
    for (const args of [["config"], ["--help"], ["token", "--dev", "--user", "alice"]]) {
      // The reader is gone before anything is written.
      const child = spawn(BIN, args, { env: cleanEnvironment(), stdio: ["ignore", "pipe", "pipe"] });
      child.stdout.destroy();
      let said = "";
      child.stderr.on("data", (chunk) => (said += chunk));
      const [code] = await within(DEADLINE, "it ends", once(child, "close"));
      assert.equal(code, 0, said);
    }
  });

  it("ends as it would if its output is closed", async () => {
    assert.equal((await outcome(["config"], ">&- 2>&-")).code, 0);
    assert.equal((await outcome(["--listen", "nowhere"], ">&- 2>&-")).code, 2);
  });
});

// SIGHUP while the file is being replaced: half a file opens nothing, and what cannot change now is named.

import assert from "node:assert/strict";
import { readFile, writeFile } from "node:fs/promises";
import { describe, it } from "node:test";

import { ack, connect, connectWith, refusal } from "./support/clients.mjs";
import { httpRequest } from "./support/raw.mjs";
import { freePorts, reconfigure, runBinary, serverFor } from "./support/server.mjs";
import { SECRET, token } from "./support/tokens.mjs";
import { until } from "./support/waiting.mjs";

const KEY = "a key of more than sixteen bytes";

/** A server that asks for tokens and for keys, its file, and who gets in. */
async function guarded(t, more = {}) {
  const [port] = await freePorts(1);
  const config = {
    admin_listen: `127.0.0.1:${port}`,
    limits: { max_connections: 1000 },
    auth: { mode: "required", hs256_secret: [SECRET] },
    admin: { api_keys: [KEY] },
    ...more,
  };
  const server = await serverFor(t, config);
  const file = server.process.spawnargs.at(-1);
  const api = (headers = {}) => httpRequest({ url: `http://127.0.0.1:${port}` }, "/api/v1/nodes", { headers }).then(({ status }) => status);
  return { server, config, file, whole: await readFile(file, "utf8"), api };
}

/** Everything is as it was: guests and forged tokens stay outside, and the API asks for its key. */
async function isStillGuarded(t, { server, api }) {
  assert.match((await refusal(t, server, {})).message, /^unauthorized: token is required/);
  const forged = await token("mallory", {}, { secret: "another secret of more than thirty-two bytes" });
  assert.match((await refusal(t, server, { auth: { token: forged } })).message, /^unauthorized: /);
  assert.equal((await ack(await connectWith(t, server, await token("alice")), "whoami")).user, "alice");
  assert.equal(await api(), 401);
  assert.equal(await api({ authorization: `Bearer ${KEY}` }), 200);
}

describe("SIGHUP with a file that was cut", () => {
  const cuts = {
    "before [admin]": (whole) => whole.slice(0, whole.indexOf("[admin]")),
    "before [auth]": (whole) => whole.slice(0, whole.indexOf("[auth]")),
    "before [limits]": (whole) => whole.slice(0, whole.indexOf("[limits]")),
    "within the secret": (whole) => whole.slice(0, whole.indexOf("hs256_secret") + 30),
    "after half a number": (whole) => whole.slice(0, whole.indexOf("max_connections") + 20),
    "after half a line": (whole) => whole.slice(0, whole.indexOf("api_keys") + 5),
    "to nothing": () => "",
    "to blank lines": () => "\n\n",
  };
  for (const [where, cut] of Object.entries(cuts)) {
    it(`${where} is refused with the reason, and the old one goes on`, async (t) => {
      const scene = await guarded(t);
      const { server, file, whole, config } = scene;
      await writeFile(file, cut(whole));
      server.signal("SIGHUP");
      await until("the server says why", () => /ERROR .*not reloaded: /.test(server.logs));
      await isStillGuarded(t, scene);
      assert.doesNotMatch(server.logs, /limits and log level reloaded/);
      assert.ok(!server.logs.includes(SECRET) && !server.logs.includes(KEY), "no secret in the log");

      await reconfigure(server, config);
      await isStillGuarded(t, scene);
    });
  }

  it("takes away what the file says is to be taken away, and warns that guests come in now", async (t) => {
    const { server, config, api } = await guarded(t);
    await reconfigure(server, { ...config, auth: { mode: "optional", hs256_secret: "" }, admin: { api_keys: [] } });
    assert.equal((await ack(await connect(t, server), "whoami")).user, null);
    assert.equal(await api(), 200);
    assert.match(server.logs, new RegExp(`WARN .*no key is set .*127\\.0\\.0\\.1:${server.port} is a guest`));
  });
});

describe("SIGHUP with keys that need a restart", () => {
  it("names them all in one warning", async (t) => {
    const { server, config } = await guarded(t, { engine: { ping_interval: "20s" } });
    await reconfigure(server, { ...config, engine: { ping_interval: "10s" }, rooms: { may_join: ["x"] }, users: { max_sockets: 3 } });
    const warnings = server.logs.split("\n").filter((line) => /in use only after a restart/.test(line));
    assert.equal(warnings.length, 1);
    assert.match(warnings[0], /WARN .*restart: engine\.ping_interval, rooms\.may_join, users\.max_sockets$/);
  });

  it("says nothing when there are none", async (t) => {
    const { server, config } = await guarded(t);
    await reconfigure(server, { ...config, limits: { max_connections: 5 } });
    assert.doesNotMatch(server.logs, /restart/);
  });
});

describe("a server without keys", () => {
  it("warns at the start, with its address, that whoever connects is a guest", async (t) => {
    const server = await serverFor(t);
    assert.match(server.logs, new RegExp(`WARN .*no key is set .*127\\.0\\.0\\.1:${server.port} is a guest, with a token or without`));
    assert.equal((await ack(await connectWith(t, server, await token("alice")), "whoami")).user, null);
  });

  it("does not warn if that is what the configuration asks for", async (t) => {
    const server = await serverFor(t, { auth: { mode: "none" } });
    assert.doesNotMatch(server.logs, /guest/);
  });

  it("does not warn when there is a key", async (t) => {
    const server = await serverFor(t, { auth: { hs256_secret: [SECRET] } });
    assert.doesNotMatch(server.logs, /guest/);
  });
});

describe("switchboard config", () => {
  it("refuses TLS files that do not fit, and names both", async () => {
    const config = { tls: { cert_file: new URL("./support/server.mjs", import.meta.url).pathname, key_file: "/nowhere/key.pem" } };
    const { code, stderr } = await runBinary(["config"], { config });
    assert.equal(code, 2);
    assert.match(stderr, /error: tls\.cert_file: no certificate in `.*server\.mjs`/);
    assert.match(stderr, /error: tls\.key_file: cannot read `\/nowhere\/key\.pem`/);
  });
});

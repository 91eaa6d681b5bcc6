// Nothing secret is in the log, at any level: whatever a client shows, an operator sends or the
// configuration holds. Each place where a secret can stand has one of its own, and the whole log is
// searched for all of them.

import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer } from "node:http";
import { describe, it } from "node:test";

import { ack, connect, connectWith, disconnected, heard, open, refusal } from "./support/clients.mjs";
import { httpRequest, rawSession } from "./support/raw.mjs";
import { redisFor } from "./support/redis.mjs";
import { freePorts, runBinary, serverFor } from "./support/server.mjs";
import { token } from "./support/tokens.mjs";
import { until } from "./support/waiting.mjs";

const secret = (place) => `planted-${place}-0123456789abcdef0123456789`;
const HS256 = secret("hs256");

/** A provider of keys behind a password; it has none, so every token that asks for one is refused. */
async function provider(t) {
  const http = createServer((_, response) => response.end('{"keys":[]}')).listen(0, "127.0.0.1");
  t.after(() => http.close());
  await once(http, "listening");
  return `http://user:${secret("jwks-password")}@127.0.0.1:${http.address().port}/jwks?key=${secret("jwks-query")}`;
}

async function configuration(t) {
  const redis = await redisFor(t, { password: secret("redis") });
  const [admin] = await freePorts(1);
  return {
    redis,
    admin: `http://127.0.0.1:${admin}`,
    config: {
      admin_listen: `127.0.0.1:${admin}`,
      auth: { hs256_secret: [HS256], jwks_url: await provider(t) },
      edge: { secrets: [secret("edge")] },
      admin: { api_keys: [secret("api-key")] },
      admin_ui: { enabled: true, username: "ops", password: secret("ui") },
      redis: { url: `redis://:${secret("redis")}@127.0.0.1:${redis.port}` },
    },
  };
}

/** Shows the server everything that it must not tell. Returns what has no `planted-` in it. */
async function show(t, server, admin) {
  const signed = (place) => token("alice", { secret: secret(place) }, { secret: HS256 });
  const tokens = {};
  for (const place of ["payload", "query", "header", "refresh", "polling"]) tokens[place] = await signed(place);
  tokens.forged = await token("alice", {}, { secret: "another secret of more than thirty-two bytes" });

  const socket = await connectWith(t, server, tokens.payload);
  await connect(t, server, { query: { token: tokens.query } });
  await connect(t, server, { extraHeaders: { authorization: `Bearer ${tokens.header}`, cookie: `session=${secret("cookie")}` } });
  await connectWith(t, server, tokens.polling, { transports: ["polling"] });
  await connect(t, server, { transports: ["polling", "websocket"], auth: { other: secret("connect") } });
  assert.deepEqual(await ack(socket, "auth:refresh", tokens.refresh), { ok: true });
  assert.ok((await ack(socket, "auth:refresh", secret("not-a-token"))).error);
  await refusal(t, server, { auth: { token: tokens.forged } });
  await refusal(t, server, { auth: { token: { object: secret("token-object") } } });
  await refusal(t, server, { auth: { token: await token("alice", {}, { secret: secret("unknown-key"), kid: secret("kid") }) } });
  await refusal(t, server, { namespace: "/admin", auth: { username: "ops", password: secret("wrong-ui") } });
  await connect(t, server, { namespace: "/admin", auth: { username: "ops", password: secret("ui") } });

  // What users say, in all the ways in which it can be wrong.
  await ack(socket, "events", { text: secret("event") }, Buffer.from(secret("bytes")));
  assert.equal((await ack(socket, "join", { room: secret("argument") })).error.code, "bad_request");
  assert.equal((await ack(socket, "publish", secret("publish-argument"))).error.code, "bad_request");
  assert.equal((await ack(socket, "publish", { room: "public:x", data: secret("publish") })).error.code, "forbidden");
  const raw = await rawSession(server);
  await raw.post(`40{"token":"${secret("broken-payload")}`).catch(() => {});
  const broken = open(server);
  t.after(() => broken.close());
  await heard(broken, "connect");
  const ended = disconnected(broken);
  broken.io.engine.write(`2["${secret("broken-packet")}`);
  broken.io.engine.write(`9${secret("no-packet")}`);
  await ended.catch(() => {});

  // The operators' API, by the right key and by a wrong one.
  const emit = JSON.stringify({ all: true, event: "news", args: [secret("api-body")] });
  const asked = (key, body = emit) => httpRequest({ url: admin }, "/api/v1/emit", { method: "POST", headers: { authorization: `Bearer ${key}`, "content-type": "application/json" }, body });
  const heardNews = heard(socket, "news");
  assert.equal((await asked(secret("api-key"))).status, 202);
  await heardNews;
  assert.equal((await asked(secret("wrong-key"))).status, 401);
  assert.equal((await asked(secret("api-key"), `{"event":${secret("broken-body")}`)).status, 400);
  // A header of some bytes that no header holds, and a path that says too much.
  await httpRequest(server, `/socket.io/?EIO=4&transport=polling&secret=${secret("path")}`, { headers: { "x-secret": secret("header") } });
  await httpRequest(server, `/other?token=${secret("other-path")}`).catch(() => {});
  return Object.values(tokens);
}

describe("the log", { concurrency: 2 }, () => {
  const levels = ["error", "warn", "info", "debug", "trace"].map((level) => [`log.level = ${level}`, level, {}]);
  const variables = ["trace", "debug,tungstenite=trace,hyper=trace,rustls=trace,redis=trace,engineioxide=trace,socketioxide=trace,reqwest=trace,h2=trace,log=trace", "[{secret}]=trace,switchboard=trace"]
    .map((filter) => [`RUST_LOG = ${filter.slice(0, 24)}`, "info", { RUST_LOG: filter }]);
  for (const [name, level, env] of [...levels, ...variables]) {
    it(`holds no secret: ${name}`, { timeout: 120_000 }, async (t) => {
      const { config, redis, admin } = await configuration(t);
      const server = await serverFor(t, { ...config, log: { level, format: level === "debug" ? "json" : "text" } }, { env });
      await until("the node is in its cluster", () => server.get("/readyz").then(({ status }) => status === 200));
      const tokens = await show(t, server, admin);
      await redis.kill();
      await until("the node knows that Redis is gone", () => server.get("/readyz").then(({ status }) => status === 503));
      server.signal("SIGHUP");
      await server.stop(45_000);
      for (const planted of [/planted-[a-z0-9-]{0,30}/, ...tokens.flatMap((token) => token.split(".").slice(1))]) {
        const found = server.logs.split("\n").find((line) => (planted.test?.(line) ?? line.includes(planted)));
        assert.equal(found, undefined);
      }
      if (["debug", "trace"].includes(level) || env.RUST_LOG === "trace") assert.match(server.logs, /socket connected/, "and it is not silent");
    });
  }

  it("is about users and connections at debug, with the reason as Node.js names it", async (t) => {
    const server = await serverFor(t, { auth: { hs256_secret: [HS256] }, log: { level: "debug" } });
    const socket = await connectWith(t, server, await token("alice", {}, { secret: HS256 }));
    await until("the connect is told", () => /socket connected .*user\.id="alice" client\.address=127\.0\.0\.1 transport="websocket"/.test(server.logs));
    socket.disconnect();
    await until("the disconnect is told", () => /socket disconnected .*user\.id="alice" client\.address=127\.0\.0\.1 reason="client namespace disconnect"/.test(server.logs));
    await connectWith(t, server, await token("bob", {}, { secret: HS256 }));
    server.signal("SIGTERM");
    await until("whose connection is cut is told", () => /transport cut client\.address=127\.0\.0\.1 reason="drain"/.test(server.logs));
    await until("and which user's socket went with it", () => /socket disconnected .*user\.id="bob" client\.address=127\.0\.0\.1 reason="transport (close|error)"/.test(server.logs));
  });
});

describe("switchboard config", () => {
  it("shows no secret", async (t) => {
    const { config } = await configuration(t);
    const { code, stdout, stderr } = await runBinary(["config"], { config });
    assert.equal(code, 0, stderr);
    assert.doesNotMatch(stdout + stderr, /planted/);
    assert.match(stdout, /jwks_url = "http:\/\/\*\*\*@127\.0\.0\.1:\d+\/jwks\?\*\*\*"/);
  });

  it("quotes none in an error", async () => {
    const config = { auth: { jwks_url: `planted://user:${secret("x")}@host` }, traces: { endpoint: `http://user:${secret("y")}@collector:4318` }, redis: { url: `radish://user:${secret("z")}@host` } };
    const { code, stdout, stderr } = await runBinary(["config"], { config });
    assert.equal(code, 2);
    assert.doesNotMatch(stdout + stderr, /planted-/);
  });
});

// The examples that work with Redis: sessions of Express, and a worker.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { dirname, join } from "node:path";
import { after, describe, it } from "node:test";

import { Emitter } from "@socket.io/redis-emitter";
import { RedisStore } from "connect-redis";
import express from "express";
import session from "express-session";
import { createClient } from "redis";

import { ack, connect, connectWith, disconnected, heard, refusal } from "./support/clients.mjs";
import { redisFor } from "./support/redis.mjs";
import { BIN, cleanEnvironment, exampleForThisFile, serverForThisFile } from "./support/server.mjs";
import { SECRET, token } from "./support/tokens.mjs";
import { DEADLINE, within } from "./support/waiting.mjs";

const redis = await redisFor();

describe("sessions of Express", async () => {
  const shop = await startShop();
  const server = await exampleForThisFile("cookie_session", { REDIS_URL: redis.url, SESSION_SECRET: SECRET });
  const enter = (t, cookie) => connect(t, server, { extraHeaders: { cookie } });
  const refused = async (t, cookie) => (await refusal(t, server, cookie ? { extraHeaders: { cookie } } : {})).message;

  it("let in who has logged in, beside other cookies", async (t) => {
    const ada = await enter(t, `theme=dark; ${await shop.login("ada")}; x=1`);
    assert.equal(await ack(ada, "whoami"), "ada");
    const polling = await connect(t, server, { transports: ["polling"], extraHeaders: { cookie: await shop.login("bob") } });
    assert.equal(await ack(polling, "whoami"), "bob");
  });

  it("refuse everybody else, and do not say why", async (t) => {
    const cookie = await shop.login("ada");
    const value = decodeURIComponent(cookie.split("=")[1]);
    const [id, signature] = value.slice(2).split(".");
    const other = decodeURIComponent((await shop.login("bob")).split("=")[1]).slice(2).split(".")[1];
    const cookies = {
      none: undefined,
      "of a visitor who has not logged in": await shop.visit(),
      "without a signature": `connect.sid=${encodeURIComponent(`s:${id}`)}`,
      "not signed at all": `connect.sid=${id}`,
      "with the signature of another session": `connect.sid=${encodeURIComponent(`s:${id}.${other}`)}`,
      "with a signature that is cut": `connect.sid=${encodeURIComponent(`s:${id}.${signature.slice(0, -2)}`)}`,
      "with another id": `connect.sid=${encodeURIComponent(`s:${id}x.${signature}`)}`,
      empty: "connect.sid=",
    };
    for (const [what, cookie] of Object.entries(cookies)) {
      assert.equal(await refused(t, cookie), "unauthorized: log in first", what);
    }
    await enter(t, cookie);
  });

  it("end the sockets when the user logs out", async (t) => {
    const [cookie, other] = [await shop.login("ada"), await shop.login("ada")];
    const [socket, stays] = [await enter(t, cookie), await enter(t, other)];
    const gone = disconnected(socket);
    await shop.logout(cookie);
    assert.equal(await gone, "io server disconnect");
    assert.equal(await refused(t, cookie), "unauthorized: log in first");
    assert.equal(await ack(stays, "whoami"), "ada");
  });
});

/** An application as its documentation has it, and a browser's cookies. */
async function startShop() {
  const client = await createClient({ url: redis.url }).connect();
  const emitter = new Emitter(client);
  const app = express();
  app.use(session({ secret: SECRET, store: new RedisStore({ client }), resave: false, saveUninitialized: true }));
  app.get("/", (_, response) => response.send("hello"));
  app.post("/login/:user", (request, response) => {
    request.session.user = request.params.user;
    response.send("welcome");
  });
  app.post("/logout", (request, response) => {
    const { id } = request.session;
    request.session.destroy(() => {
      emitter.in(`session:${id}`).disconnectSockets();
      response.send("bye");
    });
  });
  const listening = app.listen(0, "127.0.0.1");
  await once(listening, "listening");
  after(() => {
    listening.close();
    listening.closeAllConnections();
    return client.close();
  });
  const url = `http://127.0.0.1:${listening.address().port}`;
  const ask = async (path, options) => {
    const response = await fetch(url + path, options);
    assert.equal(response.status, 200);
    return response.headers.getSetCookie()[0]?.split(";")[0];
  };
  return {
    visit: () => ask("/"),
    login: (user) => ask(`/login/${user}`, { method: "POST" }),
    logout: (cookie) => ask("/logout", { method: "POST", headers: { cookie } }),
  };
}

describe("a worker", async () => {
  const server = await serverForThisFile({ redis: { url: redis.url }, auth: { hs256_secret: SECRET } });

  it("tells users of their jobs from a process of its own", async (t) => {
    const [ada, tab, bob] = await Promise.all(["ada", "ada", "bob"].map(async (user) => connectWith(t, server, await token(user))));
    const heards = [heard(ada, "job:done"), heard(tab, "job:done"), heard(bob, "job:done")];
    const worker = spawn(join(dirname(BIN), "examples", "worker"), { env: { ...cleanEnvironment(), REDIS_URL: redis.url } });
    const said = { stdout: "", stderr: "" };
    worker.stdout.on("data", (chunk) => (said.stdout += chunk));
    worker.stderr.on("data", (chunk) => (said.stderr += chunk));
    t.after(() => worker.kill("SIGKILL"));
    worker.stdin.end('{"user": "ada", "job": 7}\nnonsense\n{"user": "bob", "job": {"id": 8}}\n');
    const [code] = await within(DEADLINE, "the worker ends", once(worker, "close"));
    assert.deepEqual([code, said.stderr], [0, "no job: nonsense\n"]);
    assert.match(said.stdout, /^[1-9]\d* nodes heard of it\n$/);
    assert.deepEqual(await Promise.all(heards), [[7], [7], [{ id: 8 }]]);
  });
});

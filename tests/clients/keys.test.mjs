// Keys change while the server runs: those of an identity provider without a signal, its own ones with
// one. No restart, and nobody who is connected notices.

import assert from "node:assert/strict";
import { generateKeyPair } from "node:crypto";
import { writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import { after, describe, it } from "node:test";
import { promisify } from "node:util";

import { exportJWK } from "jose";

import { ack, connectWith, refusal } from "./support/clients.mjs";
import { reconfigure, serverFor, serverForThisFile } from "./support/server.mjs";
import { token } from "./support/tokens.mjs";
import { until } from "./support/waiting.mjs";

/** The server's rest between two fetches while it has keys: key ids are free to invent. */
const REST = 10_000;

/** Publishes keys, and writes down when it was asked. */
class Provider {
  asked = [];
  keys = [];

  static async start() {
    const provider = new Provider();
    const http = createServer((_, response) => {
      provider.asked.push(Date.now());
      response.setHeader("Cache-Control", "max-age=3600").end(JSON.stringify({ keys: provider.keys }));
    });
    await new Promise((listening) => http.listen(0, "127.0.0.1", listening));
    after(() => http.close());
    provider.url = `http://127.0.0.1:${http.address().port}/jwks`;
    return provider;
  }
}

async function keyNamed(kid) {
  const { publicKey, privateKey } = await promisify(generateKeyPair)("ec", { namedCurve: "P-256" });
  return { kid, privateKey, jwk: { ...(await exportJWK(publicKey)), kid, alg: "ES256", use: "sig" } };
}

const provider = await Provider.start();
const [old, next, invented] = [await keyNamed("old"), await keyNamed("next"), await keyNamed("invented")];
const signedBy = ({ kid, privateKey }, user = "alice", as = kid) => token(user, {}, { alg: "ES256", key: privateKey, kid: as });

provider.keys = [old.jwk];
const server = await serverForThisFile({ auth: { mode: "required", jwks_url: provider.url } });
const isRefused = async (t, bearer, by = server) => {
  const { message, data } = await refusal(t, by, { auth: { token: bearer } });
  assert.match(message, /^unauthorized: /);
  assert.equal(data.retry, false);
};

describe("an identity provider", () => {
  it("rotates its keys while the server runs", { timeout: 120_000 }, async (t) => {
    const early = await connectWith(t, server, await signedBy(old));
    assert.equal(provider.asked.length, 1, "keys are fetched when the first token comes");

    provider.keys = [next.jwk];
    const bobs = await signedBy(next, "bob");
    const later = await until("a token of the new key is good", () => connectWith(t, server, bobs).catch(() => false), REST + 5_000);
    assert.equal((await ack(later, "whoami")).user, "bob");
    assert.equal(provider.asked.length, 2, "the unknown key id had the keys fetched, once");
    assert.ok(provider.asked[1] - provider.asked[0] >= REST - 100, "and not sooner than the rest allows");

    await isRefused(t, await signedBy(old));
    assert.equal((await ack(early, "whoami")).user, "alice", "who is connected stays");
    // The name of a key is not the key.
    await isRefused(t, await signedBy(invented, "alice", "next"));
  });

  it("is asked once at most by a crowd with invented key ids", { timeout: 120_000 }, async (t) => {
    const before = provider.asked.length;
    const crowd = (round, size) => Promise.all(Array.from({ length: size }, async (_, number) => isRefused(t, await signedBy(invented, "mallory", `${round}-${number}`))));
    let rounds = 0;
    await until("the rest is over, and the keys are fetched again", async () => {
      await crowd(rounds++, 2);
      return provider.asked.length > before;
    }, REST + 5_000);
    await crowd("after", 100);
    t.diagnostic(`${rounds * 2 + 100} tokens with key ids that nobody has: ${provider.asked.length - before} fetch`);
    assert.equal(provider.asked.length, before + 1);
    assert.equal((await ack(await connectWith(t, server, await signedBy(next)), "whoami")).user, "alice");
  });
});

describe("SIGHUP", () => {
  const [ONE, TWO] = ["the first secret of thirty-two bytes, or more", "the second secret of thirty-two bytes, or more"];
  const bearer = (secret, user = "alice") => token(user, {}, { secret });

  it("brings a secret in beside the old one, and takes the old one away", async (t) => {
    const target = await serverFor(t, { auth: { mode: "required", hs256_secret: [ONE] } });
    const early = await connectWith(t, target, await bearer(ONE));
    await isRefused(t, await bearer(TWO), target);

    await reconfigure(target, { auth: { mode: "required", hs256_secret: [TWO, ONE] } });
    for (const secret of [ONE, TWO]) assert.equal((await ack(await connectWith(t, target, await bearer(secret)), "whoami")).user, "alice");

    await reconfigure(target, { auth: { mode: "required", hs256_secret: [TWO] } });
    await isRefused(t, await bearer(ONE), target);
    assert.equal((await ack(early, "whoami")).user, "alice", "who is connected stays");
    assert.equal((await ack(early, "auth:refresh", await bearer(ONE))).error.code, "unauthorized");
    assert.deepEqual(await ack(early, "auth:refresh", await bearer(TWO)), { ok: true });
  });

  it("changes nothing if the configuration is wrong", async (t) => {
    const target = await serverFor(t, { auth: { mode: "required", hs256_secret: [ONE] } });
    await writeFile(target.process.spawnargs.at(-1), `[auth]\nmode = "required"\nhs256_secret = "${TWO}"\nleewai = "1s"\n`);
    target.signal("SIGHUP");
    await until("the server says why", () => target.logs.includes("not reloaded: auth.leewai: unknown key"));
    assert.equal((await ack(await connectWith(t, target, await bearer(ONE)), "whoami")).user, "alice");
    await isRefused(t, await bearer(TWO), target);
    assert.ok(!target.logs.includes(TWO), "no secret in the log");
  });

  it("changes the level of the log", async (t) => {
    const auth = { mode: "required", hs256_secret: [ONE] };
    const target = await serverFor(t, { auth });
    await connectWith(t, target, await bearer(ONE));
    assert.doesNotMatch(target.logs, /DEBUG/);
    await reconfigure(target, { auth, log: { level: "debug" } });
    const socket = await connectWith(t, target, await bearer(ONE));
    await until("the server tells more", () => new RegExp(`DEBUG.*socket connected.*${socket.id}`).test(target.logs));
  });
});

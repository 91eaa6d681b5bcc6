// Who is let in, as whom, and how the others are told. A refusal never becomes an anonymous socket.

import assert from "node:assert/strict";
import { generateKeyPairSync } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, it } from "node:test";

import { ack, connect, connectV2, connected, heard, openV2, refusal } from "./support/clients.mjs";
import { serverFor, serverForThisFile } from "./support/server.mjs";
import { SECRET, seconds, token, unsigned } from "./support/tokens.mjs";

const AUDIENCE = "switchboard-tests";
const ISSUER = "https://issuer.example";

const server = await serverForThisFile({
  log: { level: "debug" },
  auth: { hs256_secret: SECRET, audience: AUDIENCE, issuer: ISSUER },
});

/** A token that this file's server accepts, unless `claims` or `options` spoil it. */
const valid = (user, claims, options) => token(user, { aud: AUDIENCE, iss: ISSUER, ...claims }, options);
const user = async (socket) => (await ack(socket, "whoami")).user;

/** Fails unless the connection is refused as the contract says; returns the sentence for people. */
async function unauthorized(t, target, options) {
  const error = await refusal(t, target, options);
  assert.match(error.message, /^unauthorized: \S/);
  const { message, ...data } = error.data;
  assert.deepEqual(data, { code: "unauthorized", retry: false });
  assert.equal(error.message, `unauthorized: ${message}`);
  return message;
}

describe("a token", () => {
  const header = (bearer) => ({ extraHeaders: { authorization: `Bearer ${bearer}` } });
  const sources = {
    "the CONNECT payload": (bearer) => ({ auth: { token: bearer } }),
    "the query": (bearer) => ({ query: { token: bearer } }),
    "the Authorization header": header,
  };

  for (const [name, options] of Object.entries(sources)) {
    it(`is found in ${name}, whatever the transport`, async (t) => {
      for (const transports of [["websocket"], ["polling"]]) {
        const socket = await connect(t, server, { transports, ...options(await valid("alice")) });
        assert.equal(await user(socket), "alice", transports[0]);
      }
    });

    it(`in ${name} must be valid: it is never passed over for a guest`, async (t) => {
      for (const transports of [["websocket"], ["polling"]]) {
        await unauthorized(t, server, { transports, ...options("garbage") });
      }
    });
  }

  it("counts in the CONNECT payload before the query, and there before the header", async (t) => {
    const [alice, bob] = [await valid("alice"), await valid("bob")];
    assert.equal(await user(await connect(t, server, { auth: { token: alice }, query: { token: bob } })), "alice");
    assert.equal(await user(await connect(t, server, { auth: { token: alice }, ...header(bob) })), "alice");
    assert.equal(await user(await connect(t, server, { query: { token: alice }, ...header(bob) })), "alice");
  });

  it("that is not valid is not saved by a valid one in a later place", async (t) => {
    const alice = await valid("alice");
    await unauthorized(t, server, { auth: { token: "garbage" }, query: { token: alice } });
    await unauthorized(t, server, { query: { token: "garbage" }, ...header(alice) });
  });

  it("of a 2.x client comes in the query", async (t) => {
    const socket = await connectV2(t, server, { query: { token: await valid("alice") } });
    assert.equal(await user(socket), "alice");
  });

  it("of a 2.x client is refused as any other", async (t) => {
    const socket = openV2(server, { query: { token: "garbage" } });
    t.after(() => socket.close());
    await assert.rejects(connected(socket), /unauthorized/);
    assert.equal(socket.connected, false);
  });
});

describe("the server refuses a token that", () => {
  const rsa = generateKeyPairSync("rsa", { modulusLength: 2048 });
  const rsaPublicPem = rsa.publicKey.export({ type: "spki", format: "pem" });

  const refusals = {
    "has expired": () => valid("alice", { exp: seconds(-60) }),
    "is not valid yet": () => valid("alice", { nbf: seconds(60) }),
    "is for another audience": () => valid("alice", { aud: "somebody-else" }),
    "is for no audience": () => valid("alice", { aud: undefined }),
    "is from another issuer": () => valid("alice", { iss: "https://other.example" }),
    "is from no issuer": () => valid("alice", { iss: undefined }),
    "names no user": () => valid(undefined),
    "names a user that is no string": () => valid(7),
    "is signed with another secret": () => valid("alice", {}, { secret: `${SECRET}.` }),
    "is signed with another algorithm of the family": () => valid("alice", {}, { alg: "HS512" }),
    "is signed with a key that the server does not have": () => valid("alice", {}, { alg: "RS256", key: rsa.privateKey }),
    "is not signed (alg none)": () => unsigned("alice"),
    "has lost its signature": async () => (await valid("alice")).replace(/[^.]*$/, ""),
    "has another one's payload": async () => {
      const [head, , signature] = (await valid("alice")).split(".");
      return [head, (await valid("bob")).split(".")[1], signature].join(".");
    },
    "is garbage": () => "garbage",
    "is two dots": () => "..",
    "is empty": () => "",
    "is a number": () => 7,
    "is an object": () => ({ sub: "alice" }),
    "is a list": async () => [await valid("alice")],
    "is true": () => true,
    "is huge": () => "a.".repeat(100_000),
  };
  for (const [name, make] of Object.entries(refusals)) {
    it(name, async (t) => {
      await unauthorized(t, server, { auth: { token: await make() } });
    });
  }

  it("has expired, and says so", async (t) => {
    const sentence = await unauthorized(t, server, { auth: { token: await valid("alice", { exp: seconds(-60) }) } });
    assert.match(sentence, /expired/);
  });

  it("is signed with its own public key as if that were a secret", async (t) => {
    const target = await serverFor(t, { auth: { public_key_file: pemFile(t, rsaPublicPem) } });
    await unauthorized(t, target, { auth: { token: await token("alice", {}, { secret: rsaPublicPem }) } });
    await unauthorized(t, target, { auth: { token: await token("alice", {}, { secret: rsaPublicPem.trim() }) } });
    await unauthorized(t, target, { auth: { token: unsigned("alice") } });
  });

  it("does not count as a guest anywhere: no socket of it hears a thing", async (t) => {
    const error = await refusal(t, server, { auth: { token: "garbage" } });
    assert.ok(error instanceof Error);
    const neighbour = await connect(t, server);
    assert.equal(await user(neighbour), null, "without a token one is a guest, and let in");
  });
});

describe("a public key", () => {
  const pairs = {
    RS256: generateKeyPairSync("rsa", { modulusLength: 2048 }),
    PS256: generateKeyPairSync("rsa", { modulusLength: 2048 }),
    ES256: generateKeyPairSync("ec", { namedCurve: "P-256" }),
    ES384: generateKeyPairSync("ec", { namedCurve: "P-384" }),
    EdDSA: generateKeyPairSync("ed25519"),
  };
  for (const [alg, { publicKey, privateKey }] of Object.entries(pairs)) {
    it(`verifies ${alg}`, async (t) => {
      const file = pemFile(t, publicKey.export({ type: "spki", format: "pem" }));
      const target = await serverFor(t, { auth: { public_key_file: file } });
      const socket = await connect(t, target, { auth: { token: await token("alice", {}, { alg, key: privateKey }) } });
      assert.equal(await user(socket), "alice");
      const stranger = alg === "EdDSA" ? generateKeyPairSync("ed25519") : pairs.EdDSA;
      await unauthorized(t, target, { auth: { token: await token("alice", {}, { alg: "EdDSA", key: stranger.privateKey }) } });
    });
  }
});

describe("rotation", () => {
  it("accepts the tokens of both secrets, and of no third", async (t) => {
    const [next, previous] = [`${SECRET}, the next`, `${SECRET}, the previous`];
    const target = await serverFor(t, { auth: { hs256_secret: [next, previous] } });
    for (const secret of [next, previous]) {
      const socket = await connect(t, target, { auth: { token: await token("alice", {}, { secret }) } });
      assert.equal(await user(socket), "alice");
    }
    await unauthorized(t, target, { auth: { token: await token("alice", {}, { secret: SECRET }) } });
  });
});

describe("the mode", () => {
  it("required refuses who has no token", async (t) => {
    const target = await serverFor(t, { auth: { mode: "required", hs256_secret: SECRET } });
    await unauthorized(t, target, {});
    await unauthorized(t, target, { auth: { name: "alice" } });
    const socket = await connect(t, target, { auth: { token: await token("alice") } });
    assert.equal(await user(socket), "alice");
  });

  it("none knows nobody, whatever they bring", async (t) => {
    const target = await serverFor(t, { auth: { mode: "none" } });
    assert.equal(await user(await connect(t, target, { auth: { token: "anything" } })), null);
  });
});

describe("the claim", () => {
  it("rooms puts the socket into these rooms at once, public or not", async (t) => {
    const member = await connect(t, server, { auth: { token: await valid("alice", { rooms: ["team:red", "secret"] }) } });
    const { rooms } = await ack(member, "whoami");
    assert.deepEqual(rooms.toSorted(), [member.id, "authenticated", "secret", "team:red", "user:alice"].toSorted());

    const colleague = await connect(t, server, { auth: { token: await valid("bob", { rooms: ["team:red"] }) } });
    const message = heard(member, "message");
    await ack(colleague, "publish", { room: "team:red", data: "hi" });
    assert.deepEqual(await message, [{ room: "team:red", from: "bob", data: "hi" }]);
  });

  it("may_join adds patterns for this socket, and not to rooms that are reserved", async (t) => {
    const socket = await connect(t, server, { auth: { token: await valid("alice", { may_join: ["team:*", "news"] }) } });
    for (const room of ["team:red", "news", "public:lobby"]) {
      assert.deepEqual(await ack(socket, "join", room), { ok: true, room });
    }
    assert.equal((await ack(socket, "join", "newsroom")).error.code, "forbidden");

    const everywhere = await connect(t, server, { auth: { token: await valid("alice", { may_join: ["*"] }) } });
    for (const room of ["user:bob", "authenticated", socket.id]) {
      assert.equal((await ack(everywhere, "join", room)).error.code, "forbidden", room);
    }
  });
});

describe("the log", () => {
  it("at debug level holds no token, wherever the token came from", async (t) => {
    const target = await serverFor(t, {
      log: { level: "debug" },
      auth: { hs256_secret: SECRET },
      drain: { spread: "100ms" },
    });
    const good = await token("alice");
    const bad = await token("alice", {}, { secret: "another secret of thirty-two bytes and more" });
    for (const bearer of [good, bad]) {
      const header = { authorization: `Bearer ${bearer}` };
      for (const transports of [["websocket"], ["polling"]]) {
        for (const options of [{ auth: { token: bearer } }, { query: { token: bearer } }, { extraHeaders: header }]) {
          const attempt = connect(t, target, { transports, ...options });
          await (bearer === good ? attempt : assert.rejects(attempt, /unauthorized/));
        }
      }
    }
    await target.stop();
    assert.match(target.logs, /\S/, "the server has logged something");
    for (const bearer of [good, bad]) {
      const [head, payload, signature] = bearer.split(".");
      assert.ok(head, "three parts");
      for (const part of [payload, signature]) assert.ok(!target.logs.includes(part), "a part of a token is in the log");
    }
    assert.ok(!target.logs.includes(SECRET), "the secret is in the log");
  });
});

function pemFile(t, pem) {
  const dir = mkdtempSync(join(tmpdir(), "switchboard-keys-"));
  t.after(() => rmSync(dir, { recursive: true }));
  const file = join(dir, "public.pem");
  writeFileSync(file, pem);
  return file;
}

// Who is refused is told why in a form that a program can read, whatever the transport, each time
// anew, and may try again.

import assert from "node:assert/strict";
import { describe, it } from "node:test";

import { TRANSPORTS, ack, connect, connectWith, connected, open, refusal } from "./support/clients.mjs";
import { RawSocket, pollingUrl, rawSession } from "./support/raw.mjs";
import { serverForThisFile } from "./support/server.mjs";
import { SECRET, seconds, token } from "./support/tokens.mjs";

const server = await serverForThisFile({ auth: { hs256_secret: SECRET }, users: { max_sockets: 1 } });
const required = await serverForThisFile({ auth: { hs256_secret: SECRET, mode: "required" } });

const valid = await token("alice");
const orders = { ...TRANSPORTS, "websocket before polling": ["websocket", "polling"] };

/** What the tests are refused for, and a part of what they must be told. */
const bad = {
  garbage: { token: "garbage", says: /token/ },
  expired: { token: await token("alice", { exp: seconds(-3600) }), says: /expired/ },
  "with another signature": { token: await token("alice", {}, { secret: `${SECRET}.` }), says: /signature/i },
  "of nobody": { token: await token(undefined), says: /\S/ },
};

function isUnauthorized({ message, data }, says = /\S/) {
  assert.equal(message, `unauthorized: ${data.message}`);
  assert.match(data.message, says);
  assert.deepEqual(Object.keys(data).toSorted(), ["code", "message", "retry"]);
  assert.deepEqual([data.code, data.retry], ["unauthorized", false]);
}

describe("a refused client hears code, sentence and whether to try again", () => {
  for (const [order, transports] of Object.entries(orders)) {
    for (const [name, { token: credential, says }] of Object.entries(bad)) {
      it(`(${order}; the token is ${name})`, async (t) => {
        isUnauthorized(await refusal(t, server, { transports, auth: { token: credential } }), says);
      });
    }

    it(`(${order}; there is no token, and one is required)`, async (t) => {
      isUnauthorized(await refusal(t, required, { transports }));
    });

    it(`(${order}; the user has all the sockets that a user may have)`, async (t) => {
      const user = `user of ${order}`;
      const first = await connectWith(t, server, await token(user), { transports });
      const { message, data } = await refusal(t, server, { transports, auth: { token: await token(user) } });
      assert.deepEqual({ ...data, message: "" }, { code: "too_many_sockets", message: "", retry: false });
      assert.equal(message, `too_many_sockets: ${data.message}`);
      assert.equal((await ack(first, "whoami")).user, user);
    });

    it(`(${order}) and may come back with something better`, async (t) => {
      const socket = open(server, { transports, auth: { token: "garbage" } });
      t.after(() => socket.close());
      for (const { token: credential, says } of Object.values(bad)) {
        socket.auth = { token: credential };
        const error = await connected(socket.connect()).then(assert.fail, (refused) => refused);
        isUnauthorized(error, says);
      }
      const user = `better user of ${order}`;
      socket.auth = { token: await token(user) };
      await connected(socket.connect());
      assert.equal((await ack(socket, "whoami")).user, user);
    });
  }
});

/** Everything that one connection may be told about CONNECT, one packet after the other. */
const ways = {
  websocket: async (t) => {
    const raw = new RawSocket(t, server);
    await raw.next((frame) => frame.startsWith("0{"));
    return { send: (packet) => raw.send(packet), next: () => raw.next() };
  },
  polling: async () => {
    const session = await rawSession(server);
    const packets = [];
    return {
      send: async (packet) => assert.equal((await session.post(packet)).status, 200),
      next: async () => {
        while (packets.length === 0) packets.push(...(await (await session.poll()).text()).split("\u001e"));
        return packets.shift();
      },
    };
  },
};

const refused = (packet, namespace = "") => {
  const start = `44${namespace}`;
  assert.ok(packet.startsWith(`${start}{`), packet);
  return JSON.parse(packet.slice(start.length));
};

for (const [way, connection] of Object.entries(ways)) {
  describe(`on one connection (${way})`, () => {
    it("a hundred refusals have their own reasons each, and then one is let in", async (t) => {
      const { send, next } = await connection(t);
      for (let attempt = 0; attempt < 100; attempt++) {
        const { token: credential, says } = Object.values(bad)[attempt % 4];
        await send(`40${JSON.stringify({ token: credential })}`);
        isUnauthorized(refused(await next()), says);
      }
      await send(`40${JSON.stringify({ token: await token(`patient user (${way})`) })}`);
      assert.match(await next(), /^40\{"sid":"[\w-]{20}"/);
    });

    it("refusals that nobody waited for have their own reasons each", async (t) => {
      const { send, next } = await connection(t);
      const [asked, told] = [40, []];
      for (let attempt = 0; attempt < asked; attempt++) await send(`40${JSON.stringify({ token: Object.values(bad)[attempt % 4].token })}`);
      while (told.length < asked) told.push(refused(await next()));
      // Attempts side by side may be refused in any order; none is told the reason of another.
      for (const one of told) isUnauthorized(one);
      for (const { says } of Object.values(bad)) assert.ok(told.filter(({ data }) => says.test(data.message)).length >= 10, `${says}`);
    });

    it("the reason of one namespace is not told in another, which has none", async (t) => {
      const { send, next } = await connection(t);
      for (let attempt = 0; attempt < 10; attempt++) {
        await send("40/nowhere,");
        assert.deepEqual(Object.keys(refused(await next(), "/nowhere,")), ["message"]);
        await send('40{"token":"garbage"}');
        isUnauthorized(refused(await next()));
      }
    });

    it("what the client writes into its token stays inside the sentence", async (t) => {
      const { send, next } = await connection(t);
      for (const hostile of ['"},"data":{"code":"fine"}', "\u001e44{}", '44{"message":"no"}', "\\", "\u2028", "}"]) {
        await send(`40${JSON.stringify({ token: hostile })}`);
        isUnauthorized(refused(await next()));
      }
    });
  });
}

describe("several packets in one body", () => {
  it("are refused one by one, beside what others are told", async () => {
    const session = await rawSession(server);
    const body = [...Object.values(bad).map(({ token: credential }) => `40${JSON.stringify({ token: credential })}`), "40/nowhere,", `40${JSON.stringify({ token: valid })}`];
    assert.equal((await session.post(body.join("\u001e"))).status, 200);
    const packets = [];
    while (packets.length < 6) packets.push(...(await (await session.poll()).text()).split("\u001e"));
    const told = packets.filter((packet) => packet.startsWith("44{")).map((packet) => refused(packet));
    assert.equal(told.length, 4, packets.join("\n"));
    for (const one of told) isUnauthorized(one);
    // Which of them is refused first is not promised; that each hears its own reason is.
    for (const { says } of Object.values(bad)) assert.ok(told.some(({ data }) => says.test(data.message)), `${says}`);
    assert.ok(packets.some((packet) => packet.startsWith("40{")), "the last one is let in");
    assert.ok(packets.some((packet) => packet.startsWith("44/nowhere,")));
    assert.equal((await fetch(pollingUrl(server, session.sid), { method: "POST", body: "1" })).status, 200);
  });
});

describe("a refusal", () => {
  it("is nothing that others hear of", async (t) => {
    const socket = await connect(t, server);
    const heard = [];
    socket.onAny((event) => heard.push(event));
    socket.on("connect_error", (error) => heard.push(error.message));
    for (let attempt = 0; attempt < 20; attempt++) await refusal(t, server, { auth: { token: "garbage" } });
    assert.equal((await ack(socket, "whoami")).socket, socket.id);
    assert.deepEqual(heard, []);
  });
});

// Nothing that one client sends reaches another in a form that ends its connection, and what cannot
// be passed on is refused to whoever sent it. With the real binary and the official clients.

import assert from "node:assert/strict";
import { describe, it } from "node:test";

import { Inbox, ack, connect, connectWith, openV2, heard } from "./support/clients.mjs";
import { Cluster } from "./support/cluster.mjs";
import { RawSocket } from "./support/raw.mjs";
import { freePorts, serverForThisFile } from "./support/server.mjs";
import { SECRET, token } from "./support/tokens.mjs";
import { until } from "./support/waiting.mjs";

const [adminPort] = await freePorts(1);
const server = await serverForThisFile({
  admin_listen: `127.0.0.1:${adminPort}`,
  auth: { hs256_secret: SECRET },
  admin: { api_keys: ["a key for these tests"] },
});
const good = await token("bob");
const forged = await token("bob", {}, { secret: "another secret of thirty-two bytes or more" });
const OVER = "the room's members are still there";

/** A room with a member that listens, and a socket of the protocol's own words that has joined it. */
async function room(t, name) {
  const member = await connect(t, server);
  const inbox = new Inbox(member);
  assert.equal((await ack(member, "join", name)).ok, true);
  const raw = await RawSocket.connected(t, server, { answersPings: true });
  raw.send(`420["join","${name}"]`);
  await raw.next((frame) => frame.startsWith?.("430["));
  return { member, inbox, raw };
}

const buffers = (count) => Array.from({ length: count }, () => Buffer.from("x"));
const places = (count) => Array.from({ length: count }, (_, num) => `{"_placeholder":true,"num":${num}}`);

describe("what no client takes is refused to the sender, and nobody else notices", () => {
  it("eleven attachments, published by the official client", async (t) => {
    const { member, inbox } = await room(t, "public:a");
    const sender = await connect(t, server);
    await ack(sender, "join", "public:a");
    assert.equal((await ack(sender, "publish", { room: "public:a", event: "t", data: buffers(11) })).error.code, "too_large");
    assert.deepEqual(await ack(sender, "publish", { room: "public:a", event: "t", data: buffers(10) }), { ok: true });
    await inbox.after(sender);
    assert.equal(inbox.of("t")[0][0].data.length, 10);
    assert.ok(member.connected, OVER);
  });

  for (const [name, packets, code] of [
    ["a placeholder that is none", ['451-7["publish",{"room":"public:b","event":"t","data":[{"_placeholder":true},{"_placeholder":true,"num":0}]}]', Buffer.from("x")], "bad_request"],
    ["one attachment in eleven places", [`451-7["publish",{"room":"public:b","event":"t","data":[${places(1)},${Array(10).fill(places(1))}]}]`, Buffer.from("x")], "too_large"],
    ["text that is no JSON", ['427["publish",{"room":"public:b","event":"t","data":1}]garbage'], "bad_request"],
    ["lists too deep in one another", [`427["publish",{"room":"public:b","event":"t","data":${"[".repeat(99)}${"]".repeat(99)}}]`], "bad_request"],
    ["a number beyond all others", ['427["publish",{"room":"public:b","event":"t","data":1e400}]'], "bad_request"],
  ]) {
    it(name, async (t) => {
      const { member, inbox, raw } = await room(t, "public:b");
      raw.send(...packets);
      const answer = await raw.next((frame) => frame.startsWith?.("437["));
      assert.equal(JSON.parse(answer.slice(3))[0].error.code, code);
      raw.send('428["publish",{"room":"public:b","event":"t","data":"fine"}]');
      await raw.next((frame) => frame.startsWith?.("438["));
      await ack(member, "whoami");
      assert.deepEqual(inbox.of("t").map(([{ data }]) => data), ["fine"]);
      assert.ok(member.connected, OVER);
    });
  }

  it("an event that a user's other tabs get is passed on as it came, or not at all", async (t) => {
    const shown = await token("alice");
    const tab = await connectWith(t, server, shown);
    const inbox = new Inbox(tab);
    const raw = await RawSocket.connected(t, server, { auth: { token: shown }, answersPings: true });
    raw.send('42["\\u0065vents",{"a\\"b":1,"\\u00e9":[{"_placeholder":false}]},"\\ud83d\\ude00"]');
    await raw.next((frame) => frame.startsWith?.('42["\\u0065vents"'));
    const broken = await RawSocket.connected(t, server, { auth: { token: shown }, answersPings: true });
    broken.send('42["events",1]garbage');
    await broken.whenClosed();
    await ack(tab, "whoami");
    assert.deepEqual(inbox.of("events"), [[{ 'a"b': 1, é: [{ _placeholder: false }] }, "😀"]]);
    assert.ok(tab.connected, OVER);
  });
});

describe("what comes from other nodes and no client takes", { concurrency: 2 }, () => {
  for (const protocol of ["classic", "sharded", "streams"]) {
    it(`is dropped and counted, and the clients stay: ${protocol}`, { timeout: 120_000 }, async (t) => {
      const [port] = await freePorts(1);
      const { servers: { a, n } } = await Cluster.start(t, { protocol, ours: ["a"], nodes: { n: {} }, config: { admin_listen: `127.0.0.1:${port}` } });
      const malformed = async () => {
        const metrics = await (await fetch(`http://127.0.0.1:${port}/metrics`)).text();
        return Number(/switchboard_cluster_dropped_total\{reason="malformed"\} (\d+)/.exec(metrics)[1]);
      };
      const member = await connect(t, a);
      const inbox = new Inbox(member);
      // A Node.js server checks nothing of what it sends.
      await n.run((io) => {
        const bytes = Buffer.from("x");
        io.emit("t", Array(11).fill(bytes));
        io.emit("t", [bytes, { _placeholder: true, num: 7 }]);
        io.emit("t", Array(10).fill(bytes));
      });
      await until("what can be taken comes", () => inbox.of("t").length > 0);
      assert.deepEqual(inbox.of("t").map(([{ length }]) => length), [10]);
      assert.equal(await malformed(), 2);
      assert.ok(member.connected, OVER);
    });
  }
});

describe("acknowledgements that the API asks for", () => {
  const ask = (socket) => fetch(`http://127.0.0.1:${adminPort}/api/v1/emit`, {
    method: "POST",
    headers: { authorization: "Bearer a key for these tests", "content-type": "application/json" },
    body: JSON.stringify({ sockets: [socket], event: "ask", ack: { timeout_ms: 3000 } }),
  }).then((response) => response.json());

  /** A socket and the id of the ack that it is asked for. */
  async function asked(t) {
    const raw = await RawSocket.connected(t, server, { answersPings: true });
    raw.send('420["whoami"]');
    const { socket } = JSON.parse((await raw.next((frame) => frame.startsWith?.("430["))).slice(3))[0];
    const answer = ask(socket);
    const question = await raw.next((frame) => /^42\d+\["ask"/.test(frame));
    return { raw, answer, id: /^42(\d+)/.exec(question)[1] };
  }

  for (const [name, said, value] of [
    ["keys with escapes", '[{"a\\"b":1,"\\u00e9":2},3]', { 'a"b': 1, é: 2 }],
    ["a half character", '["\\ud800"]', "\ufffd"],
    ["nothing", "[]", null],
  ]) {
    it(`hold ${name}`, async (t) => {
      const { raw, answer, id } = await asked(t);
      raw.send(`43${id}${said}`);
      assert.deepEqual(await answer, { acks: [value], expected: 1, received: 1 });
    });
  }

  it("that cannot be read are none, and end the session of whoever sent them", async (t) => {
    for (const said of ["[1]garbage", "{}", "[1e400]", `${"[".repeat(200)}${"]".repeat(200)}`]) {
      const { raw, answer, id } = await asked(t);
      raw.send(`43${id}${said}`);
      await raw.whenClosed();
      const { acks, received } = await answer;
      assert.deepEqual({ acks, received }, { acks: [], received: 0 }, said);
    }
  });
});

describe("the payload of CONNECT", () => {
  /** Whom the server takes the client for, or the code of its refusal. */
  async function outcome(t, payload) {
    const raw = new RawSocket(t, server, { answersPings: true });
    await raw.next((frame) => frame.startsWith("0{"));
    raw.send(`40${payload}`);
    const answer = await raw.next((frame) => /^4[04]/.test(frame));
    if (answer.startsWith("44")) return JSON.parse(answer.slice(2)).data.code;
    raw.send('420["whoami"]');
    return JSON.parse((await raw.next((frame) => frame.startsWith("430["))).slice(3))[0].user;
  }

  for (const [name, rest] of [
    ["half a character", ',"n":"\\ud800"'],
    ["a number beyond all others", ',"n":1e400'],
    ["a key with escapes", ',"\\u00e9\\"":1'],
  ]) {
    it(`with ${name} in it is read, and the token too`, async (t) => {
      assert.equal(await outcome(t, `{"token":"${good}"${rest}}`), "bob");
      assert.equal(await outcome(t, `{"token":"${forged}"${rest}}`), "unauthorized");
    });
  }

  it("that cannot be read is refused, and never taken for nobody's", async (t) => {
    const deep = `${"[".repeat(500)}${"]".repeat(500)}`;
    for (const payload of [`{"token":"${good}","n":${deep}}`, "{bad", `{"token":"${good}"}garbage`, `["${good}"]`, "null", '{"token":1e400}']) {
      assert.equal(await outcome(t, payload), "bad_request", payload.slice(0, 40));
    }
  });

  it("of version 2 stands in the namespace's query, and its refusals carry err.data", async (t) => {
    const refused = openV2(server, { query: { token: forged } });
    t.after(() => refused.close());
    const [error] = await heard(refused, "error");
    assert.equal(error.code, "unauthorized");
    assert.equal(typeof error.message, "string");
  });
});

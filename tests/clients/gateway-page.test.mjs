// docs/built-in-gateway.md says what is so: its examples are run, its tables are asked about.

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, it } from "node:test";
import { runInNewContext } from "node:vm";

import { ack, connect, connectWith, heard, refusal } from "./support/clients.mjs";
import { runBinary, serverForThisFile } from "./support/server.mjs";
import { SECRET, seconds, token } from "./support/tokens.mjs";

const page = await readFile(join(import.meta.dirname, "../../docs/built-in-gateway.md"), "utf8");
const server = await serverForThisFile({ auth: { hs256_secret: [SECRET] }, rooms: { may_join: ["public:*"] } });

/** The rows of the table below this title: a list of cells each. */
function table(title) {
  const section = page.split(`\n## ${title}\n`)[1].split("\n## ")[0];
  const rows = section.split("\n").filter((line) => line.startsWith("| ")).slice(1);
  return rows.map((row) => row.split("|").slice(1, -1).map((cell) => cell.trim()));
}

/** Whether a value is what the page shows of it: `…` stands for any text. */
function isAsShown(actual, shown) {
  if (shown === "…") return assert.equal(typeof actual, "string");
  if (typeof shown !== "object" || shown === null) return assert.equal(actual, shown);
  if (Array.isArray(shown)) {
    assert.equal(actual.length, shown.length, JSON.stringify(actual));
    const left = actual.filter((item) => !shown.includes(item));
    return assert.equal(left.length, shown.filter((item) => item === "…").length, JSON.stringify(actual));
  }
  assert.deepEqual(Object.keys(actual).sort(), Object.keys(shown).sort());
  for (const [key, value] of Object.entries(shown)) isAsShown(actual[key], value);
}

describe("the examples of the page", () => {
  const examples = [...page.matchAll(/^await socket\.emitWithAck\((.*)\); +\/\/ (.*)$/gm)];
  it("are all answered as it says", async (t) => {
    assert.ok(examples.length >= 10, `${examples.length}`);
    const socket = await connectWith(t, server, await token("alice"));
    const newToken = await token("alice", { exp: seconds(600) });
    for (const [line, args, shown] of examples) {
      const given = runInNewContext(`[${args}]`, { newToken });
      const answer = await ack(socket, ...JSON.parse(JSON.stringify(given)));
      await t.test(line.slice(0, 80), () => isAsShown(answer, runInNewContext(`(${shown})`)));
    }
  });

  it("refuse with what it shows", async (t) => {
    const shown = /\/\/ message: (".*")\n *\/\/ data: (.*)/.exec(page);
    const { message, data } = await refusal(t, server, { auth: { token: await token("alice", { exp: seconds(-60) }) } });
    assert.equal(message, JSON.parse(shown[1]));
    isAsShown(data, runInNewContext(`(${shown[2]})`));
  });

  it("make a token with the claims that the page describes", async (t) => {
    const command = /^switchboard (token .*)$/m.exec(page)[1];
    const args = command.match(/'[^']*'|\S+/g).map((arg) => arg.replaceAll("'", ""));
    const { stdout } = await runBinary(args, { config: { auth: { hs256_secret: [SECRET] } } });
    const socket = await connectWith(t, server, stdout.trim());
    assert.ok((await ack(socket, "whoami")).rooms.includes("team:red"));
    assert.deepEqual(await ack(socket, "join", "team:blue"), { ok: true, room: "team:blue" });
  });
});

describe("the tables of the page", () => {
  it("name every event that is handled, and no other", async (t) => {
    const socket = await connect(t, server);
    const named = table("What a client can send").map(([event]) => event.replaceAll("`", ""));
    assert.deepEqual(named.sort(), ["auth:refresh", "events", "join", "leave", "publish", "whoami"]);
    for (const event of named) assert.notEqual((await ack(socket, event))?.error?.code, "unknown_event", event);
    for (const event of ["message", "chat", "server:draining", "subscribe"]) assert.equal((await ack(socket, event)).error.code, "unknown_event", event);
  });

  it("say what a member hears of what is published", async (t) => {
    const [alice, guest] = [await connectWith(t, server, await token("alice")), await connect(t, server)];
    for (const socket of [alice, guest]) await ack(socket, "join", "public:page");
    const [chat, message] = [heard(guest, "chat"), heard(alice, "message")];
    await ack(alice, "publish", { room: "public:page", event: "chat", data: 1 });
    await ack(guest, "publish", { room: "public:page", data: 2 });
    assert.deepEqual(await chat, [{ room: "public:page", from: "alice", data: 1 }]);
    assert.deepEqual(await message, [{ room: "public:page", from: null, data: 2 }]);
  });

  it("say when a token is about to expire", async (t) => {
    let expiring;
    await connectWith(t, server, await token("alice", { exp: seconds(30) }), { onOpen: (socket) => (expiring = heard(socket, "auth:expiring")) });
    const [{ seconds: left }] = await expiring;
    assert.ok(left > 20 && left <= 30, `${left}`);
  });
});

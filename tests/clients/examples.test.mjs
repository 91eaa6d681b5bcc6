// The examples that people copy do what they say.

import assert from "node:assert/strict";
import { after, describe, it } from "node:test";

import { ack, connect, heard, refusal } from "./support/clients.mjs";
import { startExample } from "./support/server.mjs";

const chat = await startExample("chat");
after(() => chat.kill());

const enter = (t, name) => connect(t, chat, { auth: { name } });

describe("the chat", () => {
  it("shows who joins what was said, and then everything", async (t) => {
    const [ada, bob] = [await enter(t, "ada"), await enter(t, "bob")];
    assert.deepEqual(await ack(ada, "join", "lobby"), []);
    assert.equal(await ack(ada, "say", { room: "lobby", text: "first" }), 0);
    const before = await ack(bob, "join", "lobby");
    assert.deepEqual(before, [{ room: "lobby", from: "ada", text: "first", number: 0 }]);
    const said = heard(ada, "said", ({ number }) => number === 1);
    assert.equal(await ack(bob, "say", { room: "lobby", text: "second" }), 1);
    assert.deepEqual(await said, [{ room: "lobby", from: "bob", text: "second", number: 1 }]);
  });

  it("keeps the last fifty messages", async (t) => {
    const [ada, bob] = [await enter(t, "ada"), await enter(t, "bob")];
    await ack(ada, "join", "long");
    for (let number = 0; number < 60; number++) await ack(ada, "say", { room: "long", text: `${number}` });
    const numbers = (await ack(bob, "join", "long")).map(({ number }) => number);
    assert.deepEqual(numbers, Array.from({ length: 50 }, (_, at) => at + 10));
  });

  it("lets nobody speak who is not there, or enter without a name", async (t) => {
    const ada = await enter(t, "ada");
    assert.equal((await ack(ada, "say", { room: "elsewhere", text: "?" })).error.code, "forbidden");
    const refused = await refusal(t, chat, { auth: { name: " " } });
    assert.equal(refused.data.code, "bad_request");
  });
});

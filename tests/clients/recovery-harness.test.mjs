// What the tests of recovery stand on: an account that sees every fault, chance that can be repeated, and
// clients that are cut, by whom the recovery of Node.js is seen to work, and to fail where it is known to.

import assert from "node:assert/strict";
import { describe, it } from "node:test";

import { Account } from "./support/account.mjs";
import { KINDS, Traveller } from "./support/cuts.mjs";
import { nodeFor } from "./support/nodes.mjs";
import { CUTS } from "./support/proxies.mjs";
import { Random } from "./support/random.mjs";
import { until } from "./support/waiting.mjs";

describe("the account of a client", () => {
  const judged = (sent, ...sessions) => {
    const account = new Account(["s"]);
    sessions.forEach((numbers, session) => {
      if (session) account.begin();
      for (const number of numbers) assert.ok(account.hear("s", number));
    });
    const { heard, ...faults } = account.judge({ s: sent });
    assert.equal(heard, sessions.flat().length);
    return Object.fromEntries(Object.entries(faults).filter(([, list]) => list.length).map(([what, list]) => [what, list.map((it) => Number(it.split(" ")[1]))]));
  };

  it("is right if each came once and in order", () => assert.deepEqual(judged(4, [0, 1, 2, 3]), {}));
  it("has what is missing at the beginning, within and at the end", () => {
    assert.deepEqual(judged(4, [1, 2, 3]), { missing: [0] });
    assert.deepEqual(judged(4, [0, 3]), { missing: [1, 2] });
    assert.deepEqual(judged(4, [0, 1, 2]), { missing: [3] });
    assert.deepEqual(judged(2, []), { missing: [0, 1] });
  });
  it("has what came twice", () => {
    assert.deepEqual(judged(3, [0, 1, 1, 2]), { repeated: [1] });
    assert.deepEqual(judged(3, [0, 1, 2, 0]), { repeated: [0] });
    assert.deepEqual(judged(3, [0, 1], [1, 2]), { repeated: [1] });
  });
  it("has what came late", () => assert.deepEqual(judged(4, [0, 2, 1, 3]), { disordered: [1] }));
  it("tells what was lost with the client's knowledge from what is missing without it", () => {
    assert.deepEqual(judged(8, [0, 1], [4, 6, 7]), { missing: [5], lost: [2, 3] });
    assert.deepEqual(judged(4, [0, 1], []), { missing: [3], lost: [2] });
    assert.deepEqual(judged(4, [], [2, 3]), { lost: [0, 1] });
  });
  it("refuses what is not the client's", () => assert.equal(new Account(["s"]).hear("another", 0), false));
});

describe("chance", () => {
  const draw = (random) => Array.from({ length: 20 }, () => random.between(0, 1000));

  it("repeats itself with its seed, for each name apart", () => {
    assert.deepEqual(draw(new Random(7)), draw(new Random(7)));
    assert.notDeepEqual(draw(new Random(7)), draw(new Random(8)));
    const [first, second] = [new Random(7), new Random(7)];
    draw(second);
    assert.deepEqual(draw(first.of("a")), draw(new Random(7).of("a")));
    assert.notDeepEqual(draw(first.of("a")), draw(first.of("b")));
  });
  it("is even enough", () => {
    const random = new Random(7);
    const counts = Array(10).fill(0);
    for (let n = 0; n < 10_000; n++) counts[random.between(0, 10)]++;
    for (const count of counts) assert.ok(count > 850 && count < 1150, String(counts));
  });
});

describe("the recovery of Node.js, in memory", async () => {
  const server = await nodeFor(undefined, { adapter: "memory", io: { connectionStateRecovery: {}, pingInterval: 1_000, pingTimeout: 60_000 } });
  const traveller = async (t, kind, options = {}) => {
    const random = new Random(1).of(kind);
    const made = await Traveller.start(t, { name: kind, kind, servers: [server], streams: ["a program to everybody"], random, ...options });
    made.id = made.socket.id;
    return made;
  };
  const say = async (made, number) => {
    await server.run((io, message) => void io.emit("says", message), { stream: "a program to everybody", number });
    await until(`${number} is heard`, () => made.account.isComplete({ "a program to everybody": number + 1 }));
  };

  for (const how of Object.keys(CUTS)) {
    // A torn connection is torn by what comes next, which is a ping.
    const recovers = how !== "half open";
    it(`a connection that is cut (${how}) is ${recovers ? "recovered" : "not recovered: the server still has it"}`, async (t) => {
      const made = await traveller(t, "websocket");
      await say(made, 0);
      made.way.cut(how);
      await until("it is back", () => made.socket.connected && made.connects === 1);
      assert.equal(made.recovered, recovers ? 1 : 0, made.story.join("\n"));
      await say(made, 1);
      const { missing, lost, repeated } = made.account.judge({ "a program to everybody": 2 });
      assert.deepEqual({ missing, lost, repeated, changed: made.changed }, { missing: [], lost: [], repeated: [], changed: [] });
    });
  }

  for (const kind of Object.keys(KINDS)) {
    it(`a client of the kind ${kind} is recovered`, async (t) => {
      const made = await traveller(t, kind);
      await say(made, 0);
      made.socket.io.engine.close();
      await until("it is back", () => made.socket.connected && made.connects === 1);
      assert.equal(made.recovered, 1, made.story.join("\n"));
    });
  }

  it("nobody is recovered who has heard nothing yet", async (t) => {
    const made = await traveller(t, "websocket");
    made.way.cut();
    await until("it is back", () => made.socket.connected && made.connects === 1);
    assert.equal(made.recovered, 0);
  });

  it("what is missing without the client's knowledge is seen", { timeout: 30_000 }, async (t) => {
    const hasty = await nodeFor(t, { adapter: "memory", io: { connectionStateRecovery: {}, pingInterval: 200, pingTimeout: 400 } });
    const made = await traveller(t, "websocket", { servers: [hasty], rooms: ["public:room"], streams: ["a program to public:room"] });
    const say = (number) => hasty.run((io, message) => void io.to("public:room").emit("says", message), { stream: "a program to public:room", number });
    const back = (connects) => until("it is back", () => made.socket.connected && made.connects === connects);
    await say(0);
    await until("it is heard", () => made.account.isComplete({ "a program to public:room": 1 }));
    // Node.js keeps the session that it has restored, so it restores it once more beside the connection
    // that is half open. When that one ends, no broadcast reaches the other one any more.
    made.way.cut();
    await back(1);
    made.way.cut("half open");
    await back(2);
    assert.equal(made.recovered, 2);
    await until("the old connection is given up", () => hasty.run((io) => io.engine.clientsCount === 1));
    await say(1);
    await made.socket.emitWithAck("whoami"); // what was said before has come before the answer
    const { missing, lost } = made.account.judge({ "a program to public:room": 2 });
    assert.deepEqual({ missing, lost }, { missing: ["a program to public:room 1"], lost: [] });
  });
});

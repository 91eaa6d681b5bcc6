// A websocket that wants to take over from polling may fail at any moment. Whatever it does, the
// session stays what it was, loses no message, and can be taken over by the next one.

import assert from "node:assert/strict";
import { describe, it } from "node:test";

import { ack, connect, disconnected, heard, upgraded } from "./support/clients.mjs";
import { RawSocket, pollingUrl, rawSession } from "./support/raw.mjs";
import { serverForThisFile } from "./support/server.mjs";
import { until } from "./support/waiting.mjs";

const server = await serverForThisFile();
// An upgrade may take 10 s; who keeps silent is closed after that.
const PATIENCE = 20_000;

const websocketOf = (t, sid, options) => new RawSocket(t, server, { query: `EIO=4&transport=websocket&sid=${sid}`, answersPings: true, ...options });

async function probing(raw) {
  await raw.opened();
  raw.send("2probe");
  assert.equal(await raw.next(), "3probe");
  return raw;
}

/** Takes over, and shows it. */
async function takeOver(raw) {
  await probing(raw);
  raw.send("5", '420["whoami"]');
  assert.match(await raw.next((frame) => frame.startsWith("430")), /"socket":/);
}

/** A polling client in a room, and another member who sends it numbered messages. */
async function conversation(t) {
  const room = `public:${t.name}`;
  const [listener, publisher] = [await connect(t, server, { transports: ["polling"] }), await connect(t, server)];
  for (const member of [listener, publisher]) assert.deepEqual(await ack(member, "join", room), { ok: true, room });
  const numbers = [];
  listener.on("message", ({ data }) => numbers.push(data));
  let next = 0;
  return {
    listener,
    sid: listener.io.engine.id,
    numbers,
    async say(count) {
      for (let i = 0; i < count; i++) assert.deepEqual(await ack(publisher, "publish", { room, data: next++ }), { ok: true });
    },
    async allHeard(deadline) {
      await until("all messages have come", () => numbers.length >= next, deadline);
      assert.deepEqual(numbers, Array.from({ length: next }, (_, number) => number));
    },
    sent: () => next,
  };
}

const failures = {
  "closes right after the handshake": async (raw) => {
    await raw.opened();
    raw.ws.close();
  },
  "is cut right after the handshake": async (raw) => {
    await raw.opened();
    raw.ws.terminate();
  },
  "is cut by a reset": async (raw) => {
    await raw.opened();
    raw.ws._socket.resetAndDestroy();
  },
  "is cut in the middle of its probe": async (raw) => {
    await raw.opened();
    const socket = raw.ws._socket;
    socket.write(Buffer.from([0x81, 0x86, 0, 0, 0, 0, 0x32, 0x70]), () => socket.destroy());
  },
  "is cut after its probe": async (raw) => (await probing(raw)).ws.terminate(),
  "closes after its probe": async (raw) => (await probing(raw)).ws.close(),
  "says garbage": async (raw) => {
    await raw.opened();
    raw.send("garbage");
  },
  "says garbage after its probe": async (raw) => (await probing(raw)).send('42["events","too early"]'),
  "says bytes": async (raw) => {
    await raw.opened();
    raw.send(Buffer.from("2probe"));
  },
  "says what is no frame": async (raw) => {
    await raw.opened();
    raw.ws._socket.write("GET / HTTP/1.1\r\n\r\n");
  },
  "says far too much": async (raw) => {
    await raw.opened();
    raw.send("2".repeat(500_000));
  },
  "pings without a probe": async (raw) => {
    await raw.opened();
    raw.send("2");
  },
  "says good-bye instead": async (raw) => (await probing(raw)).send("1"),
  "keeps silent": (raw) => raw.opened(),
  "keeps silent after its probe": probing,
};

describe("a websocket that would take over from polling, but", { concurrency: true }, () => {
  for (const [name, fail] of Object.entries(failures)) {
    it(`${name}, harms nobody`, { timeout: 120_000 }, async (t) => {
      const { listener, sid, numbers, say, allHeard, sent } = await conversation(t);
      const raw = websocketOf(t, sid);
      const saying = say(20);
      await fail(raw);
      await saying;
      await say(20);
      await raw.whenClosed(PATIENCE);
      await say(20);
      await allHeard(PATIENCE);
      assert.deepEqual(raw.frames.filter((frame) => frame !== "3probe"), [], "nothing is said to a websocket that has not decided");
      assert.equal((await ack(listener, "whoami")).socket, listener.id);

      const next = websocketOf(t, sid);
      await takeOver(next);
      const before = sent();
      await say(20);
      for (let number = before; number < sent(); number++) {
        const frame = await next.next((text) => text.startsWith("42"));
        assert.equal(JSON.parse(frame.slice(2))[1].data, number);
      }
      assert.equal(numbers.length, before, "what goes over the websocket does not come by polling, too");
    });
  }

  it("comes second while another one is probing, is closed, and the first takes over", async (t) => {
    const { sid, say, sent } = await conversation(t);
    const first = await probing(websocketOf(t, sid));
    const second = websocketOf(t, sid);
    await second.opened().catch(() => {}); // it may be closed as soon as it is open
    second.send("2probe");
    await second.whenClosed();
    assert.deepEqual(second.frames, []);
    first.send("5", '420["whoami"]');
    await first.next((frame) => frame.startsWith("430"));
    await say(3);
    for (let number = 0; number < sent(); number++) {
      assert.equal(JSON.parse((await first.next((text) => text.startsWith("42"))).slice(2))[1].data, number);
    }
  });

  it("gives up while another one is probing, does not hold that one up", async (t) => {
    const { sid } = await conversation(t);
    const idle = websocketOf(t, sid);
    await idle.opened();
    const first = await probing(websocketOf(t, sid));
    idle.ws.close();
    await idle.whenClosed();
    first.send("5", '420["whoami"]');
    assert.match(await first.next((frame) => frame.startsWith("430")), /"socket":/);
  });

  it("comes beside twenty others at once: exactly one takes over", async (t) => {
    const { sid } = await conversation(t);
    const rivals = Array.from({ length: 20 }, () => websocketOf(t, sid));
    for (const rival of rivals) rival.ws.on("open", () => rival.send("2probe"));
    await until("all but one are closed", () => rivals.filter(({ closed }) => !closed).length === 1);
    const winner = rivals.find(({ closed }) => !closed);
    assert.equal(await winner.next(), "3probe");
    winner.send("5", '420["whoami"]');
    assert.match(await winner.next((frame) => frame.startsWith("430")), /"socket":/);
    for (const loser of rivals.filter((rival) => rival !== winner)) assert.deepEqual(loser.frames, []);
  });
});

describe("a websocket that takes over from polling", () => {
  it("may decide without a probe, as some clients do", async (t) => {
    const { sid, say, sent } = await conversation(t);
    const raw = websocketOf(t, sid);
    await raw.opened();
    raw.send("5", '420["whoami"]');
    assert.match(await raw.next((frame) => frame.startsWith("430")), /"socket":/);
    await say(3);
    for (let number = 0; number < sent(); number++) {
      assert.equal(JSON.parse((await raw.next((text) => text.startsWith("42"))).slice(2))[1].data, number);
    }
  });

  it("may probe twice", async (t) => {
    const { sid } = await conversation(t);
    const raw = await probing(websocketOf(t, sid));
    raw.send("2probe");
    assert.equal(await raw.next(), "3probe");
    raw.send("5", '420["whoami"]');
    assert.match(await raw.next((frame) => frame.startsWith("430")), /"socket":/);
  });

  it("lets the poll go that waits, at the probe, and any poll at the decision", async (t) => {
    const session = await rawSession(server);
    assert.equal((await session.post("40")).status, 200);
    await session.poll();
    const waiting = session.poll();
    const raw = await probing(websocketOf(t, session.sid));
    assert.equal(await (await waiting).text(), "6");
    const next = session.poll();
    raw.send("5");
    assert.equal(await (await next).text(), "6");
  });

  it("does not hold back what comes by polling while it probes, and says nothing", async (t) => {
    const session = await rawSession(server);
    assert.equal((await session.post("40")).status, 200);
    await session.poll();
    const raw = await probing(websocketOf(t, session.sid));
    for (let number = 0; number < 20; number++) {
      assert.equal((await session.post(`42["events",${number}]`)).status, 200);
      let heard = "6"; // a poll that finds nothing yet is let go after a while
      while (heard === "6") heard = await (await session.poll()).text();
      assert.equal(heard, `42["events",${number}]`);
    }
    assert.deepEqual(raw.frames, ["3probe"]);
    raw.send("5", '42["events","over the websocket"]');
    assert.equal(await raw.next(), '42["events","over the websocket"]');
  });

  for (const [name, probe] of Object.entries({ "has not probed yet": (raw) => raw.opened(), "has probed": probing })) {
    it(`is closed when the client leaves by polling (it ${name})`, async (t) => {
      const session = await rawSession(server);
      const raw = websocketOf(t, session.sid);
      await probe(raw);
      assert.equal((await session.post("1")).status, 200);
      await raw.whenClosed(); // and not after the time for an upgrade, which is longer
    });
  }
});

describe("a session that has been taken over by a websocket", () => {
  async function taken(t) {
    const socket = await upgraded(await connect(t, server, { transports: ["polling", "websocket"] }));
    const reasons = [];
    socket.on("disconnect", (reason) => reasons.push(reason));
    return {
      sid: socket.io.engine.id,
      async goesOn() {
        const echo = heard(socket, "events");
        socket.emit("events", "still here");
        assert.deepEqual(await echo, ["still here"]);
        assert.equal((await ack(socket, "whoami")).socket, socket.id);
        assert.deepEqual(reasons, []);
      },
    };
  }

  for (const [name, words] of Object.entries({ "says nothing": [], "probes": ["2probe", "5"], "says good-bye": ["1"] })) {
    it(`closes a second one that ${name}, and the first goes on`, async (t) => {
      const { sid, goesOn } = await taken(t);
      const second = websocketOf(t, sid);
      await second.opened().catch(() => {}); // it may be closed as soon as it is open
      second.send(...words);
      await second.whenClosed();
      assert.deepEqual(second.frames, []);
      await goesOn();
    });
  }

  it("is not polled any more, and goes on", async (t) => {
    const { sid, goesOn } = await taken(t);
    const url = pollingUrl(server, sid);
    for (const options of [{}, { method: "POST", body: "1" }, { method: "POST", body: "41" }]) assert.equal((await fetch(url, options)).status, 400);
    await goesOn();
  });

  it("ends with that websocket", async (t) => {
    const { listener, sid } = await conversation(t);
    const raw = websocketOf(t, sid);
    const gone = disconnected(listener);
    await takeOver(raw);
    raw.ws.terminate();
    // The client that polled finds that nobody knows its session any more.
    assert.match(await gone, /^transport (close|error)$/);
    await until("the session is gone", async () => (await fetch(pollingUrl(server, sid))).status === 400);
  });
});

// A client that upgrades does not poll before its POST is answered. If the answer waits for polls, both wait.
describe("while more waits for a client than may, its POST is answered so that it can upgrade", () => {
  const LARGE = `421["events",${JSON.stringify("x".repeat(900_000))}]`; // comes back twice

  for (const probesFirst of [true, false]) {
    it(probesFirst ? "when it has probed" : "when it probes later", async (t) => {
      const session = await rawSession(server);
      await (await session.post("40")).text();
      await (await session.poll()).text();
      const raw = websocketOf(t, session.sid);
      if (probesFirst) await probing(raw);
      const post = session.post(LARGE);
      if (!probesFirst) await probing(raw);
      assert.equal((await post).status, 200);
      raw.send("5");
      for (let times = 0; times < 2; times++) await raw.next((frame) => frame.length > 900_000);
    });
  }
});

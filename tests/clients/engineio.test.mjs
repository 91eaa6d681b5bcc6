// Engine.IO 4 below the Socket.IO packets: sessions, heartbeats, errors and the upgrade, request by
// request. Runs on the example with the short heartbeat: ping every 300 ms, pong within 200 ms.

import assert from "node:assert/strict";
import { describe, it } from "node:test";

import { RawSocket, pollingUrl, rawSession } from "./support/raw.mjs";
import { exampleForThisFile } from "./support/server.mjs";
import { until } from "./support/waiting.mjs";

const server = await exampleForThisFile("protocol_server");
const [PING_INTERVAL, PING_TIMEOUT, MAX_PAYLOAD] = [300, 200, 1_000_000];

const get = (query, options) => server.get(`/socket.io/?${query}`, options);
const isHandshake = (frame) => frame.startsWith("0{");

/** A session whose greeting has been read, so that the next poll waits. */
async function joinedSession() {
  const session = await rawSession(server);
  assert.equal((await session.post("40")).status, 200);
  let got = "";
  while (!got.includes('42["auth"')) got += await (await session.poll()).text();
  return session;
}

/** The next payload of a session that is something else than a ping. */
async function pollPastPings(session) {
  for (;;) {
    const text = await (await session.poll()).text();
    if (text !== "2") return text;
    await session.post("3");
  }
}

describe("the handshake", () => {
  const complete = (fields, upgrades) => {
    const { sid, ...rest } = fields;
    // Over polling the id is the capability to use the session, over websocket only a name.
    assert.match(sid, upgrades.length > 0 ? /^[\w-]+\.[\w-]{32}$/ : /^[\w-]{16}$/);
    assert.deepEqual(rest, { upgrades, pingInterval: PING_INTERVAL, pingTimeout: PING_TIMEOUT, maxPayload: MAX_PAYLOAD });
  };

  it("over polling names the session, the upgrade and the limits", async () => {
    complete((await rawSession(server)).fields, ["websocket"]);
  });

  it("over websocket names the same, with nothing left to upgrade to", async (t) => {
    const raw = new RawSocket(t, server);
    complete(JSON.parse((await raw.next()).slice(1)), []);
  });

  it("gives each session its own id", async () => {
    const ids = await Promise.all(Array.from({ length: 20 }, async () => (await rawSession(server)).sid));
    assert.equal(new Set(ids).size, 20);
  });
});

describe("a request that is refused", () => {
  const refusals = {
    "an unknown transport (0)": [0, "EIO=4&transport=pigeon"],
    "no transport at all (0)": [0, "EIO=4"],
    "an unknown session (1)": [1, "EIO=4&transport=polling&sid=nope"],
    "a handshake that is posted (2)": [2, "EIO=4&transport=polling", { method: "POST", body: "40" }],
    "a handshake that is put (2)": [2, "EIO=4&transport=polling", { method: "PUT" }],
    "a websocket handshake without an upgrade (3)": [3, "EIO=4&transport=websocket"],
    "a protocol of the future (5)": [5, "EIO=5&transport=polling"],
    "a protocol that is no number (5)": [5, "EIO=abc&transport=polling"],
    "no protocol (5)": [5, "transport=polling"],
  };
  for (const [name, [code, query, options]] of Object.entries(refusals)) {
    it(`is told why in JSON: ${name}`, async () => {
      const response = await get(query, options);
      assert.equal(response.status, 400);
      assert.match(response.headers.get("content-type"), /^application\/json/);
      const error = await response.json();
      assert.equal(error.code, code);
      assert.match(error.message, /\S/);
    });
  }

  for (const query of ["EIO=4&transport=websocket&sid=nope", "EIO=4"]) {
    it(`gets no websocket either: ${query}`, async (t) => {
      const raw = new RawSocket(t, server, { query });
      await raw.whenClosed();
      assert.deepEqual(raw.frames, []);
    });
  }
});

describe("a websocket that does not say EIO=4", () => {
  for (const query of ["EIO=3&transport=websocket", "EIO=abc&transport=websocket", "transport=websocket"]) {
    it(`speaks revision 3, as to Node.js: ${query}`, async (t) => {
      const raw = new RawSocket(t, server, { query });
      await raw.next(isHandshake);
      // Nobody has asked to join: in that revision the server says it by itself.
      await raw.next((frame) => frame === "40");
    });
  }
});

describe("a polling session", () => {
  it("takes several packets in one body and gives its answers in order", async () => {
    const session = await joinedSession();
    const sent = ["a", "b", "c"].map((word) => `42["message","${word}"]`);
    const response = await session.post(sent.join("\u001e"));
    assert.equal(response.status, 200);
    assert.equal(await response.text(), "ok");
    const packets = [];
    while (packets.length < 3) packets.push(...(await pollPastPings(session)).split("\u001e").filter((packet) => packet.startsWith("42")));
    assert.deepEqual(packets, sent.map((packet) => packet.replace("message", "message-back")));
  });

  it("carries bytes as base64, both ways", async () => {
    const session = await joinedSession();
    await session.post('451-["message",{"_placeholder":true,"num":0}]\u001ebAQIDBA==');
    let got = "";
    while (!got.includes("bAQIDBA==")) got += await pollPastPings(session);
    assert.match(got, /451-\["message-back",\{"_placeholder":true,"num":0\}\]\u001ebAQIDBA==/);
  });

  it("keeps text that is not Latin, byte for byte", async () => {
    const session = await joinedSession();
    await session.post('42["message","€ 漢字 👋"]');
    assert.match(await pollPastPings(session), /42\["message-back","€ 漢字 👋"\]/);
  });

  it("is closed by a body that is no packet", async () => {
    const session = await joinedSession();
    await session.post("abc");
    await until("the session is gone", async () => (await session.poll()).status === 400);
  });

  it("is closed by a second poll beside the first", async () => {
    const session = await joinedSession();
    const first = session.poll();
    const second = await session.poll();
    assert.ok([second.status, (await first).status].includes(400), "one of the two is refused");
    await until("the session is gone", async () => (await session.poll()).status === 400);
  });

  it("ends when the client says so, and answers the poll that waits", async () => {
    const session = await joinedSession();
    const waiting = session.poll();
    assert.equal((await session.post("1")).status, 200);
    assert.ok([200, 400].includes((await waiting).status));
    assert.equal((await session.poll()).status, 400);
    assert.equal((await session.post('42["message"]')).status, 400);
  });

  it("refuses a body beyond the limit", async () => {
    const session = await joinedSession();
    const response = await session.post(`42["message","${"x".repeat(MAX_PAYLOAD)}"]`);
    assert.ok(response.status >= 400 && response.status < 500, `status ${response.status}`);
  });
});

describe("the heartbeat", () => {
  it("over polling comes each interval, as long as it is answered", async () => {
    const session = await joinedSession();
    for (let beat = 0; beat < 3; beat++) {
      assert.equal(await (await session.poll()).text(), "2");
      assert.equal((await session.post("3")).status, 200);
    }
  });

  it("over websocket comes each interval, as long as it is answered", async (t) => {
    const raw = await RawSocket.connected(t, server);
    for (let beat = 0; beat < 3; beat++) {
      await raw.next((frame) => frame === "2");
      raw.send("3");
    }
    assert.equal(raw.closed, false);
  });

  it("does not begin before the first interval is over", async (t) => {
    const raw = new RawSocket(t, server);
    await raw.next(isHandshake);
    const began = performance.now();
    await raw.next((frame) => frame === "2");
    const waited = performance.now() - began;
    assert.ok(waited > PING_INTERVAL * 0.8, `the first ping came after ${waited} ms`);
  });

  it("that is missed over polling closes the session", async () => {
    const session = await joinedSession();
    assert.equal(await (await session.poll()).text(), "2");
    await until("the session is gone", async () => (await session.post('42["message"]')).status === 400);
  });

  it("that is missed over websocket closes the connection", async (t) => {
    const raw = await RawSocket.connected(t, server);
    await raw.next((frame) => frame === "2");
    const pinged = performance.now();
    await raw.whenClosed();
    const waited = performance.now() - pinged;
    assert.ok(waited > PING_TIMEOUT * 0.8, `closed already after ${waited} ms`);
  });
});

describe("a websocket session", () => {
  it("is closed by a text that is no packet", async (t) => {
    const raw = await RawSocket.connected(t, server);
    raw.send("abc");
    await raw.whenClosed();
  });

  it("ends when the client says so", async (t) => {
    const raw = await RawSocket.connected(t, server);
    raw.send("1");
    await raw.whenClosed();
  });
});

describe("the upgrade", () => {
  async function probing(t, session) {
    const raw = new RawSocket(t, server, { query: `EIO=4&transport=websocket&sid=${session.sid}`, answersPings: true });
    await raw.opened();
    raw.send("2probe");
    assert.equal(await raw.next(), "3probe");
    return raw;
  }

  it("answers the probe, lets the pending poll go with a noop, and goes on over websocket", async (t) => {
    const session = await joinedSession();
    const waiting = session.poll();
    const raw = await probing(t, session);
    const released = await waiting;
    assert.equal(released.status, 200);
    assert.match(await released.text(), /(^|\u001e)6$/);
    raw.send("5", '42["message","upgraded"]');
    assert.equal(await raw.next((frame) => frame.startsWith("42")), '42["message-back","upgraded"]');
  });

  it("leaves no session behind for polling", async (t) => {
    const session = await joinedSession();
    const raw = await probing(t, session);
    raw.send("5", '42["message","upgraded"]');
    await raw.next((frame) => frame.startsWith("42"));
    assert.equal((await session.poll()).status, 400);
    assert.equal(raw.closed, false);
  });

  it("happens once: a second websocket of the session is turned away", async (t) => {
    const session = await joinedSession();
    const raw = await probing(t, session);
    raw.send("5", '42["message","upgraded"]');
    await raw.next((frame) => frame.startsWith("42"));
    const second = new RawSocket(t, server, { query: `EIO=4&transport=websocket&sid=${session.sid}` });
    await second.whenClosed();
    raw.send('42["message","still here"]');
    assert.equal(await raw.next((frame) => frame.startsWith("42")), '42["message-back","still here"]');
  });
});

describe("a session id", () => {
  it("is looked for in the address only, and fits the polling of one client", async () => {
    const [one, other] = [await joinedSession(), await joinedSession()];
    await one.post('42["message","one"]');
    await other.post('42["message","other"]');
    assert.match(await pollPastPings(one), /"one"/);
    assert.match(await pollPastPings(other), /"other"/);
    assert.equal((await fetch(pollingUrl(server, `${one.sid}x`))).status, 400);
  });
});

// What no client sends, but anybody can. Whatever happens to the connection that sends it, the server
// goes on, and a healthy neighbour does not notice.

import assert from "node:assert/strict";
import { connect as connectTcp } from "node:net";
import { describe, it } from "node:test";

import { Inbox, ack, connect } from "./support/clients.mjs";
import { RawSocket, pollingUrl, rawSession } from "./support/raw.mjs";
import { serverForThisFile } from "./support/server.mjs";
import { DEADLINE, until, within } from "./support/waiting.mjs";

const server = await serverForThisFile({ engine: { connect_timeout: "1s" } });
const deep = (levels) => "[".repeat(levels) + "]".repeat(levels);

/** Runs `attack` beside a neighbour who must hear nothing of it, and be served during and after it. */
async function survives(t, attack) {
  const neighbour = await connect(t, server);
  const inbox = new Inbox(neighbour);
  const attacker = await attack();
  assert.equal(await ack(neighbour, "events", "unharmed"), "unharmed");
  assert.equal((await ack(await connect(t, server), "whoami")).user, null, "newcomers are let in");
  assert.equal((await server.get("/healthz")).status, 200);
  assert.deepEqual((await inbox.after(neighbour)).filter(([, said]) => said !== "unharmed"), []);
  assert.equal(server.status, undefined, "the process lives");
  return attacker;
}

/** The same, where the attack is one frame of a connected socket. Gives the attacker. */
const survivesFrame = (t, frame) => survives(t, async () => {
  const attacker = await RawSocket.connected(t, server);
  attacker.send(frame);
  return attacker;
});

/** "closed" or "served", whichever comes; a connection that is open and does not answer is a failure. */
async function closedOrServed(raw) {
  raw.send('4277["whoami"]');
  return until("the connection is closed or goes on", () => (raw.closed ? "closed" : raw.frames.some((frame) => String(frame).startsWith("4377[")) && "served"));
}

describe("frames that are no packets harm their own connection at most", { concurrency: 4 }, () => {
  const garbage = {
    "an unknown engine packet": "x",
    "a text that is no packet": "hello?",
    "an empty text": "",
    "an unknown socket packet": "49",
    "an event that is no JSON": '42["unfinished',
    "an event that is no list": '42{"a":1}',
    "an event without a name": "42[]",
    "an event with a number for a name": "42[7]",
    "a CONNECT that is no JSON": "40{oops",
    "a binary event that misses its dash": '451["events"]',
    "a binary event with a negative count": '45-1-["events"]',
    "a binary event that counts in words": '45x-["events"]',
    "JSON with a lonely surrogate escape": '42["\\ud800',
  };
  for (const [name, frame] of Object.entries(garbage)) {
    it(name, async (t) => {
      const raw = await survivesFrame(t, frame);
      // Either way is sane: to hang up, or to pass over it. To stop answering is not.
      await closedOrServed(raw);
    });
  }
});

describe("binary that lies", { concurrency: 4 }, () => {
  const bytes = Buffer.from([1, 2, 3]);
  const lies = {
    "bytes that nobody announced": [bytes],
    "a placeholder without bytes": ['450-["events",{"_placeholder":true,"num":0}]'],
    "a placeholder beyond the count": ['451-["events",{"_placeholder":true,"num":7}]', bytes],
    "a negative placeholder": ['451-["events",{"_placeholder":true,"num":-1}]', bytes],
    "a placeholder that is no number": ['451-["events",{"_placeholder":true,"num":"constructor"}]', bytes],
    "two placeholders for the same bytes": ['451-["events",{"_placeholder":true,"num":0},{"_placeholder":true,"num":0}]', bytes],
    "more bytes than announced": ['451-["events",{"_placeholder":true,"num":0}]', bytes, bytes, bytes],
    "a text where bytes should come": ['451-["events",{"_placeholder":true,"num":0}]', '42["events",1]'],
    "a count of four billion": ['454294967295-["events"]'],
    "a count with a thousand digits": [`45${"9".repeat(1_000)}-["events"]`],
    "a binary ack that nobody waits for": ['461-7[{"_placeholder":true,"num":0}]', bytes],
    "a placeholder in a plain event": ['42["events",{"_placeholder":true,"num":0}]'],
  };
  for (const [name, frames] of Object.entries(lies)) {
    it(name, async (t) => {
      const raw = await survives(t, async () => {
        const attacker = await RawSocket.connected(t, server);
        attacker.send(...frames);
        return attacker;
      });
      // A server that still waits for bytes takes the next text for a broken packet: closed as well.
      await closedOrServed(raw);
    });
  }

  it("announced bytes that never come hold up their sender only", async (t) => {
    const raw = await survives(t, async () => {
      const attacker = await RawSocket.connected(t, server);
      attacker.send('451-["events",{"_placeholder":true,"num":0}]');
      return attacker;
    });
    raw.send(bytes);
    assert.match(await raw.next((frame) => !Buffer.isBuffer(frame)), /^451-\["events"/, "late, they still count");
  });
});

describe("what is valid, and too much", { concurrency: 4 }, () => {
  const floods = {
    "JSON nested a hundred thousand levels deep": `42["events",${deep(100_000)}]`,
    "JSON nested a hundred levels deep": `42["events",${deep(100)}]`,
    "an object of a hundred thousand levels": `42["events",${'{"a":'.repeat(100_000)}1${"}".repeat(100_000)}]`,
    "a CONNECT payload of a hundred thousand levels": `40/other,{"token":${deep(100_000)}}`,
    "a namespace name of ten kilobytes": `40/${"n".repeat(10_000)},`,
    "a namespace name that is a path": "40/../../etc/passwd,",
    "an event name of ten kilobytes": `42["${"e".repeat(10_000)}"]`,
    "an ack id of forty digits": `42${"9".repeat(40)}["whoami"]`,
    "an ack id of zero": '420["whoami"]',
    "an ack that nobody waits for": '4399["x"]',
    "an ack with an id of forty digits": `43${"9".repeat(40)}["x"]`,
    "a number beyond all numbers": '42["events",1e999]',
    "an integer of a thousand digits": `42["events",${"7".repeat(1_000)}]`,
    "keys that are special elsewhere": '42["events",{"__proto__":{"x":1},"constructor":1}]',
    "an event for a namespace that it has not joined": '42/other,["events",1]',
    "a DISCONNECT from a namespace that it has not joined": "41/other,",
  };
  for (const [name, frame] of Object.entries(floods)) {
    it(name, async (t) => {
      const raw = await survivesFrame(t, frame);
      await closedOrServed(raw);
    });
  }

  it("a hundred CONNECTs make one socket", async (t) => {
    const raw = await survives(t, async () => {
      const attacker = await RawSocket.connected(t, server);
      attacker.send(...Array(100).fill("40"));
      return attacker;
    });
    if ((await closedOrServed(raw)) === "served") {
      raw.send('42["events","once"]', '4278["whoami"]');
      await raw.next((frame) => String(frame).startsWith("4378["));
      assert.equal(raw.frames.filter((frame) => frame === '42["events","once"]').length, 1);
    }
  });

  it("an event before CONNECT is not handled", async (t) => {
    const raw = await survives(t, async () => {
      const attacker = new RawSocket(t, server);
      await attacker.next((frame) => frame.startsWith("0{"));
      attacker.send('421["events","too early"]');
      return attacker;
    });
    await raw.whenClosed();
    assert.deepEqual(raw.frames.filter((frame) => frame.startsWith("4")), [], "no answer at all");
  });

  it("who never sends CONNECT is let go after the connect timeout", async (t) => {
    const raw = await survives(t, async () => {
      const attacker = new RawSocket(t, server);
      await attacker.next((frame) => frame.startsWith("0{"));
      return attacker;
    });
    await raw.whenClosed();
  });

  it("a thousand events in one burst are all answered", async (t) => {
    const raw = await survives(t, async () => {
      const attacker = await RawSocket.connected(t, server);
      attacker.send(...Array.from({ length: 1_000 }, (_, id) => `42${id}["whoami"]`));
      return attacker;
    });
    await until("all answers", () => raw.frames.filter((frame) => String(frame).startsWith("43")).length === 1_000);
  });
});

describe("requests that no client makes", () => {
  it("are refused: a session that does not exist, however it is written", async (t) => {
    await survives(t, async () => {
      for (const sid of ["nope", "a".repeat(10_000), "..", "%00", "%F0%9F%92%A9", "n1.AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"]) {
        for (const method of ["GET", "POST"]) {
          const response = await fetch(pollingUrl(server, sid), { method, body: method === "POST" ? "40" : undefined });
          assert.ok(response.status >= 400 && response.status < 500, `${method} ${sid.slice(0, 20)}: ${response.status}`);
        }
      }
    });
  });

  it("a socket's public id opens no session", async (t) => {
    const victim = await connect(t, server, { transports: ["polling"] });
    for (const method of ["GET", "POST"]) {
      const response = await fetch(pollingUrl(server, victim.id), { method, body: method === "POST" ? "1" : undefined });
      assert.equal(response.status, 400);
    }
    assert.equal(await ack(victim, "events", "mine"), "mine");
  });

  const bodies = { garbage: "\u0000\u0001garbage", "a thousand separators": "\u001e".repeat(1_000), nothing: "", "bad base64": "b%%%%" };
  for (const [name, body] of Object.entries(bodies)) {
    it(`a posted body of ${name} ends that session at most`, async (t) => {
      await survives(t, async () => {
        const session = await rawSession(server);
        await session.post("40");
        const response = await session.post(body);
        assert.ok(response.status === 200 || (response.status >= 400 && response.status < 500), `status ${response.status}`);
      });
    });
  }

  const requests = {
    "no HTTP at all": "\u0016\u0003\u0001 I would like TLS\r\n\r\n",
    "a header of a hundred kilobytes": `GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nhost: x\r\nx: ${"y".repeat(100_000)}\r\n\r\n`,
    "an upgrade without a key": "GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n",
    "an upgrade to something else": "GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: h2c\r\n\r\n",
    "a body that is cut off": "POST /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\n40",
    "a length that is no number": "POST /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nhost: x\r\ncontent-length: many\r\n\r\n40",
  };
  for (const [name, request] of Object.entries(requests)) {
    it(`${name}: never a 101, and never a crash`, async (t) => {
      await survives(t, async () => {
        const answer = await spoken(request);
        assert.doesNotMatch(answer, /^HTTP\/1\.1 (101|5\d\d)/);
      });
    });
  }
});

describe("websocket frames that break the rules of websocket", () => {
  const frames = {
    "reserved bits": [0xf1, 0x80, 0, 0, 0, 0],
    "an unknown opcode": [0x83, 0x80, 0, 0, 0, 0],
    "no mask": [0x81, 0x01, 0x32],
    "a text that is no UTF-8": [0x81, 0x82, 0, 0, 0, 0, 0xff, 0xfe],
    "a continuation of nothing": [0x80, 0x80, 0, 0, 0, 0],
    "a ping of 64 kilobytes": [0x89, 0xfe, 0xff, 0xff, 0, 0, 0, 0, ...new Uint8Array(0xffff)],
    "a length of eight exabytes": [0x81, 0xff, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0],
  };
  for (const [name, octets] of Object.entries(frames)) {
    it(`${name}: the connection is closed`, async (t) => {
      const raw = await survives(t, async () => {
        const attacker = await RawSocket.connected(t, server);
        attacker.ws._socket.write(Buffer.from(octets));
        return attacker;
      });
      await raw.whenClosed();
    });
  }
});

/** What the server says to these bytes on a connection that is then half closed. */
function spoken(bytes) {
  const tcp = connectTcp(server.port, "127.0.0.1");
  let answer = "";
  tcp.on("data", (chunk) => (answer += chunk));
  tcp.on("error", () => {}); // a reset is an answer too
  tcp.end(bytes, "latin1");
  return within(DEADLINE, "the server closes the connection", new Promise((done) => tcp.on("close", () => done(answer))));
}

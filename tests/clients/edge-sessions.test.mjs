// A session id opens a session, so it must not be guessed, forged or made from what a socket is
// called in public. Whoever tries is told what any stranger is told, and the victim notices nothing.

import assert from "node:assert/strict";
import { readFile, writeFile } from "node:fs/promises";
import { describe, it } from "node:test";

import { Inbox, ack, clientsOf, connect, connectV2, disconnected, heard, upgraded } from "./support/clients.mjs";
import { declinedUpgrade, httpRequest, pollingUrl, rawSession } from "./support/raw.mjs";
import { reconfigure, serverFor, serverForThisFile } from "./support/server.mjs";
import { until } from "./support/waiting.mjs";

const [ONE, OTHER, NEW] = ["one", "other", "new"].map((name) => `the ${name} secret of thirty-two bytes or more`);
const PATH = "/socket.io/";

const server = await serverForThisFile({ node_id: "n1", edge: { secrets: [ONE] } });
const sibling = await serverForThisFile({ node_id: "n2", edge: { secrets: [ONE] } });
const stranger = await serverForThisFile({ node_id: "n1", edge: { secrets: [OTHER] } });

const victims = {
  ...clientsOf(server),
  "4.x, websocket before polling": (t) => connect(t, server, { transports: ["websocket", "polling"] }),
  "2.x, websocket only": (t) => connectV2(t, server),
};

/** The victim's session id, or that of a living session of somebody else's if it has none. */
async function genuineId(socket) {
  const id = socket.io.engine.id;
  return id.includes(".") ? id : (await rawSession(server)).sid;
}

/** What the engine calls the session, which stands in front of the signature. */
const engineId = (genuine) => genuine.split(".").pop().slice(0, 16);

const attempts = {
  "its public id": (_, publicId) => publicId,
  "its public id behind the node's name": (_, publicId) => `n1.${publicId}`,
  "its public id with a made-up signature": (_, publicId) => `n1.${publicId}${"A".repeat(16)}`,
  "its public id with the signature of another session": async (_, publicId) => `n1.${publicId}${(await rawSession(server)).sid.slice(-16)}`,
  "its public id with the signature of a server that has another secret": async (_, publicId) => `n1.${publicId}${(await rawSession(stranger)).sid.slice(-16)}`,
  "the engine's id": (genuine) => engineId(genuine),
  "the engine's id behind the node's name": (genuine) => `n1.${engineId(genuine)}`,
  "the engine's id with a made-up signature": (genuine) => `n1.${engineId(genuine)}${"A".repeat(16)}`,
  "the engine's id with the signature of another session": async (genuine) => `n1.${engineId(genuine)}${(await rawSession(server)).sid.slice(-16)}`,
  "a session id without its last character": (genuine) => genuine.slice(0, -1),
  "a session id with one character too many": (genuine) => `${genuine}A`,
  "a session id with another character at its end": (genuine) => genuine.slice(0, -1) + (genuine.endsWith("A") ? "Q" : "A"),
  "a session id without the node's name": (genuine) => genuine.replace("n1.", ""),
  "a session id under another node's name": (genuine) => genuine.replace("n1.", "n2."),
  "a session id of another node that has the same secrets": async () => (await rawSession(sibling)).sid,
  "a session id of a node that has the same name": async () => (await rawSession(stranger)).sid,
  "a dot": () => ".",
};

/** Asks in every way that names a session; what is posted would end the session that it reaches. */
async function refusedEverywhere(id, { EIO }) {
  const query = (transport) => `EIO=${EIO}&transport=${transport}&sid=${encodeURIComponent(id)}`;
  const polling = `${PATH}?${query("polling")}`;
  const answers = {
    GET: await httpRequest(server, polling),
    "POST of a close packet": await httpRequest(server, polling, { method: "POST", body: EIO === 3 ? "1:1" : "1" }),
    "POST of a disconnect packet": await httpRequest(server, polling, { method: "POST", body: EIO === 3 ? "2:41" : "41" }),
    upgrade: await declinedUpgrade(server, query("websocket")),
  };
  for (const [way, { status, headers, text }] of Object.entries(answers)) {
    assert.equal(status, 400, `${way} ${id}: ${text}`);
    assert.match(headers["content-type"], /^application\/json/, way);
    assert.deepEqual(JSON.parse(text), { code: 1, message: "Session ID unknown" }, way);
  }
}

for (const [kind, victim] of Object.entries(victims)) {
  describe(`the session of a client (${kind}) is not opened by`, () => {
    for (const [name, make] of Object.entries(attempts)) {
      it(name, async (t) => {
        const socket = await victim(t);
        const reasons = [];
        socket.on("disconnect", (reason) => reasons.push(reason));
        const transport = socket.io.engine.transport.name;
        const { socket: publicId } = await ack(socket, "whoami");
        const id = await make(await genuineId(socket), publicId);

        await refusedEverywhere(id, { EIO: 4 });
        await refusedEverywhere(id, { EIO: 3 });
        const echo = heard(socket, "events");
        socket.emit("events", "undisturbed");
        assert.deepEqual(await echo, ["undisturbed"]);
        assert.equal((await ack(socket, "whoami")).socket, publicId);
        assert.equal(socket.io.engine.transport.name, transport);
        assert.deepEqual(reasons, []);
      });
    }
  });
}

describe("a session id", () => {
  it("is the node's name, a dot and 32 characters, and does not tell what the socket is called", async (t) => {
    const { sid } = await rawSession(server);
    assert.match(sid, /^n1\.[\w-]{32}$/);
    const socket = await connect(t, server, { transports: ["polling"] });
    assert.match(socket.io.engine.id, /^n1\.[\w-]{32}$/);
    assert.notEqual(socket.io.engine.id, socket.id);
    assert.equal((await ack(socket, "whoami")).socket, socket.id);
  });

  it("is good for nothing when its session has ended", async () => {
    const session = await rawSession(server);
    assert.equal((await session.post("1")).status, 200);
    await until("the session is gone", async () => (await session.poll()).status === 400);
    await refusedEverywhere(session.sid, { EIO: 4 });
  });

  it("counts if it is the last one, as in Node.js", async (t) => {
    const socket = await connect(t, server, { transports: ["polling"] });
    const own = await rawSession(server);
    const polling = `${PATH}?EIO=4&transport=polling`;
    assert.equal((await httpRequest(server, `${polling}&sid=${own.sid}&sid=${socket.id}`)).status, 400);
    assert.equal((await declinedUpgrade(server, `EIO=4&transport=websocket&sid=${own.sid}&sid=${socket.id}`)).status, 400);
    assert.equal((await httpRequest(server, `${polling}&sid=${socket.id}&sid=${own.sid}`, { method: "POST", body: "40" })).status, 200);
    assert.equal((await ack(socket, "whoami")).socket, socket.id);
  });

  it("that is empty is none: a new session opens", async () => {
    const { status, text } = await httpRequest(server, `${PATH}?EIO=4&transport=polling&sid=`);
    assert.deepEqual([status, text.slice(0, 9)], [200, '0{"sid":"']);
  });

  it("is the same under an encoded name", async (t) => {
    const socket = await connect(t, server, { transports: ["polling"] });
    const inbox = new Inbox(socket);
    for (const path of [`${PATH}?EIO=4&transport=polling&%73id=${socket.id}`, `${PATH}?EIO=4&%74ransport=%70olling&%73id=${socket.id}`]) {
      const { status, text } = await httpRequest(server, path);
      assert.deepEqual([status, JSON.parse(text).code], [400, 1]);
    }
    const own = await rawSession(server);
    assert.equal((await httpRequest(server, `${PATH}?EIO=4&transport=polling&%73id=${own.sid}`, { method: "POST", body: "40" })).status, 200);
    assert.deepEqual(await inbox.after(socket), []);
  });
});

describe("the secrets that sign session ids", () => {
  const secrets = (...list) => ({ node_id: "n1", edge: { secrets: list } });
  const lives = async (session) => (await session.post("3")).status === 200;

  it("can be replaced while running: the first signs, and all verify", async (t) => {
    const target = await serverFor(t, secrets(ONE));
    const old = await rawSession(target);
    const client = await connect(t, target, { transports: ["polling"] });

    await reconfigure(target, secrets(NEW, ONE));
    const young = await rawSession(target);
    assert.ok(await lives(old), "its secret is still in the list");
    assert.ok(await lives(young));
    assert.equal((await ack(client, "whoami")).socket, client.id);

    const gone = disconnected(client);
    await reconfigure(target, secrets(NEW));
    const refused = await old.post("3");
    assert.equal(refused.status, 400);
    assert.deepEqual(await refused.json(), { code: 1, message: "Session ID unknown" });
    assert.ok(await lives(young), "it was signed with the first of the list");
    // Its next request is refused, and it comes back with an id of today.
    client.emit("events", "after the change");
    assert.match(await gone, /^transport (close|error)$/);
    client.connect();
    assert.equal((await ack(client, "whoami")).socket, client.id);
  });

  it("do not matter to a websocket that is open", async (t) => {
    const target = await serverFor(t, secrets(ONE));
    const sockets = [await connect(t, target), await upgraded(await connect(t, target, { transports: ["polling", "websocket"] }))];
    await reconfigure(target, secrets(NEW));
    for (const socket of sockets) assert.equal((await ack(socket, "whoami")).socket, socket.id);
  });

  it("that are missing from a new configuration stay as they were", async (t) => {
    const target = await serverFor(t, secrets(ONE));
    const session = await rawSession(target);
    const file = target.process.spawnargs.at(-1);
    await writeFile(file, (await readFile(file, "utf8")).replace(/^secrets = .*$/m, ""));
    target.signal("SIGHUP");
    await until("the server says why it keeps them", () => /ERROR .*not reloaded: .*edge\.secrets/.test(target.logs));
    assert.ok(await lives(session));
    assert.equal((await fetch(pollingUrl(target, `${session.sid.slice(0, -4)}AAAA`))).status, 400);
  });
});

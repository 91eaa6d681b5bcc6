// A socket's public id: another one in each namespace and after each CONNECT, known to everybody under
// the same name, and never that of the connection below. Clients of version 2 call themselves by
// their connection; what they call themselves finds them.

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { Manager } from "socket.io-client";

import { Inbox, TRANSPORTS, ack, connect, connectV2, connected, disconnected, heard, upgraded } from "./support/clients.mjs";
import { Cluster } from "./support/cluster.mjs";
import { isOurId } from "./support/ids.mjs";
import { RawSocket, rawSession } from "./support/raw.mjs";
import { exampleForThisFile, freePorts, serverForThisFile } from "./support/server.mjs";
import { until } from "./support/waiting.mjs";

const adminOf = async () => `127.0.0.1:${(await freePorts(1))[0]}`;

/** Asks the admin API; a body is posted. */
async function api(admin, path, body) {
  const answer = await fetch(`http://${admin}/api/v1${path}`, body && { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) });
  assert.ok(answer.ok, `${path}: ${answer.status}`);
  return answer.json();
}

const adminAddress = await adminOf();
const rooms = { may_join: ["*"] };
const server = await serverForThisFile({ admin_listen: adminAddress, rooms, engine: { legacy_polling: true } });
const namespaces = await exampleForThisFile("protocol_server");

for (const [name, transports] of Object.entries(TRANSPORTS)) {
  describe(`socket.id (${name})`, () => {
    it("is what the server calls the socket, and no part of the connection's id", async (t) => {
      const socket = await connect(t, server, { transports });
      if (transports.length > 1) await upgraded(socket);
      assert.ok(isOurId(socket.id), socket.id);
      const { socket: id, rooms } = await ack(socket, "whoami");
      assert.equal(id, socket.id);
      assert.deepEqual(rooms, [id]);
      const connection = socket.io.engine.id.split(".").pop().slice(0, 16);
      assert.ok(!id.includes(connection.slice(0, 6)) && !connection.includes(id.slice(0, 6)));
    });

    it("is another one after a reconnect, and nothing is left of the one before", async (t) => {
      const socket = await connect(t, server, { transports });
      const first = socket.id;
      await ack(socket, "join", "lobby");
      socket.disconnect();
      await connected(socket.connect());
      assert.ok(isOurId(socket.id), socket.id);
      assert.notEqual(socket.id, first);
      assert.deepEqual((await ack(socket, "whoami")).rooms, [socket.id]);
    });

    it("is another one in each namespace of one connection", async (t) => {
      const manager = new Manager(namespaces.url, { transports, reconnection: false });
      t.after(() => manager._close());
      const [home, custom] = [manager.socket("/"), manager.socket("/custom")];
      await Promise.all([connected(home), connected(custom)]);
      assert.ok(isOurId(home.id) && isOurId(custom.id));
      assert.notEqual(home.id, custom.id);
      const before = custom.id;
      custom.disconnect();
      await connected(custom.connect());
      assert.ok(isOurId(custom.id), custom.id);
      assert.notEqual(custom.id, before);
      assert.ok(home.connected, "on the same connection");
      assert.deepEqual(await ack(custom, "message-with-ack", 1), 1);
    });
  });
}

describe("on one connection, byte for byte", () => {
  const connectPacket = (packet) => JSON.parse(packet.replace(/^40/, ""));

  it("every CONNECT has a new id (websocket)", async (t) => {
    const raw = new RawSocket(t, server);
    await raw.next((frame) => frame.startsWith("0{"));
    const ids = new Set();
    for (let round = 0; round < 50; round++) {
      raw.send("40");
      const { sid, ...rest } = connectPacket(await raw.next());
      assert.ok(isOurId(sid), sid);
      assert.deepEqual(rest, {});
      ids.add(sid);
      raw.send("41");
    }
    assert.equal(ids.size, 50);
  });

  it("a socket that goes and one that comes in one request have an id each (polling)", async () => {
    const session = await rawSession(server);
    const told = [];
    const told40 = () => told.filter((packet) => packet.startsWith("40"));
    const post = async (...packets) => assert.equal((await session.post(packets.join("\u001e"))).status, 200);
    const poll = async () => told.push(...(await (await session.poll()).text()).split("\u001e"));
    await post("40");
    for (let round = 1; round <= 5; round++) {
      while (told40().length < round) await poll();
      await post(`42${round}["whoami"]`, "41", "40");
    }
    while (told40().length < 6) await poll();
    const ids = told40().map((packet) => connectPacket(packet).sid);
    const asked = told.filter((packet) => packet.startsWith("43")).map((packet) => JSON.parse(packet.slice(3))[0].socket);
    assert.equal(new Set(ids).size, 6);
    assert.deepEqual(asked, ids.slice(0, 5));
  });
});

describe("a room that a person named", () => {
  for (const room of ["general-announce", "general-announcement", "0123456789abcdef", "aaaaaaaaaaaaaaaaaaaa"]) {
    it(`may be joined though it has ${room.length} characters: ${room}`, async (t) => {
      const [member, other] = [await connect(t, server), await connect(t, server)];
      for (const socket of [member, other]) assert.deepEqual(await ack(socket, "join", room), { ok: true, room });
      const told = heard(other, "says");
      assert.deepEqual(await ack(member, "publish", { room, event: "says", data: 1 }), { ok: true });
      assert.deepEqual(await told, [{ room, from: null, data: 1 }]);
    });
  }

  it("is no socket's id, whoever's", async (t) => {
    const [victim, thief] = [await connect(t, server), await connect(t, server)];
    const { id } = victim;
    for (const own of [id, thief.id]) assert.equal((await ack(thief, "join", own)).error.code, "forbidden");
    victim.close();
    assert.equal((await ack(thief, "join", id)).error.code, "forbidden", "gone, and still a name of that kind");
  });
});

const V2 = { "websocket only": ["websocket"], "polling only": ["polling"], "polling, then upgraded": ["polling", "websocket"] };

for (const [name, transports] of Object.entries(V2)) {
  describe(`a client of version 2 (${name})`, () => {
    const start = async (t) => {
      const socket = await connectV2(t, server, { transports });
      const { socket: id } = await ack(socket, "whoami");
      return { socket, id };
    };

    it("is called by a public id like everybody else", async (t) => {
      const { socket, id } = await start(t);
      assert.ok(isOurId(id), id);
      assert.notEqual(socket.id, id);
      const { sockets } = await api(adminAddress, `/rooms/${id}`);
      assert.deepEqual(sockets.map(({ id, rooms }) => ({ id, rooms })), [{ id, rooms: [id] }]);
      assert.ok(!JSON.stringify(sockets).includes(socket.id), "what it calls itself is shown to nobody");
    });

    it("is reached by what it calls itself", async (t) => {
      const [{ socket, id }, bystander] = [await start(t), await connect(t, server)];
      const inbox = new Inbox(bystander);
      for (const target of [{ sockets: [socket.id] }, { sockets: [id] }, { rooms: [socket.id] }]) {
        const told = heard(socket, "says");
        await api(adminAddress, "/emit", { ...target, event: "says", args: [target] });
        assert.deepEqual(await told, [target]);
      }
      assert.deepEqual(inbox.of("says"), []);
      const { sockets } = await api(adminAddress, `/rooms/${encodeURIComponent(socket.id)}`);
      assert.deepEqual(sockets.map(({ id }) => id), [id]);
      const told = heard(bystander, "says");
      const missed = new Set();
      socket.on("says", (word) => missed.add(word));
      await api(adminAddress, "/emit", { all: true, except_rooms: [socket.id], event: "says", args: ["others"] });
      assert.deepEqual(await told, ["others"]);
      await ack(socket, "whoami");
      assert.deepEqual([...missed], []);
    });

    it("is sent away by what it calls itself", async (t) => {
      const { socket } = await start(t);
      const gone = disconnected(socket);
      await api(adminAddress, `/rooms/${encodeURIComponent(socket.id)}/disconnect`, {});
      assert.equal(await gone, "io server disconnect");
    });

    it("cannot be overheard in a room of that name", async (t) => {
      const [{ socket }, thief] = [await start(t), await connect(t, server)];
      assert.equal((await ack(thief, "join", socket.id)).error.code, "forbidden");
    });
  });
}

for (const protocol of ["classic", "sharded", "streams"]) {
  describe(`in a cluster with Node.js (${protocol})`, async () => {
    const [adminOfB] = [await adminOf()];
    const cluster = await Cluster.start(undefined, { protocol, ours: ["a"], nodes: { n: {} }, config: { rooms, engine: { legacy_polling: true } } });
    const { a, n } = cluster.servers;
    const b = await serverForThisFile({ ...cluster.config, node_id: "b", admin_listen: adminOfB });
    await cluster.complete(3);

    it("Node.js sees our sockets by their public ids, reaches and disconnects them by these", async (t) => {
      const [one, two] = [await connect(t, a), await connect(t, b)];
      const seen = await n.run(async (io) => (await io.fetchSockets()).map(({ id, rooms }) => [id, [...rooms]]));
      for (const { id } of [one, two]) assert.deepEqual(seen.find(([other]) => other === id), [id, [id]]);
      const said = [heard(one, "says"), heard(two, "says")];
      await n.run((io, ids) => ids.forEach((id) => io.to(id).emit("says", id)), [one.id, two.id]);
      assert.deepEqual(await Promise.all(said), [[one.id], [two.id]]);
      const gone = disconnected(one);
      await n.run((io, id) => io.in(id).disconnectSockets(), one.id);
      assert.equal(await gone, "io server disconnect");
      assert.ok(two.connected);
    });

    for (const [name, transports] of Object.entries(V2)) {
      it(`a client of version 2 is found from other nodes by what it calls itself (${name})`, async (t) => {
        const socket = await connectV2(t, a, { transports });
        const { socket: id } = await ack(socket, "whoami");
        for (const [number, target] of [socket.id, id].entries()) {
          const told = heard(socket, "says");
          await api(adminOfB, "/emit", { sockets: [target], event: "says", args: [number] });
          assert.deepEqual(await told, [number]);
          assert.deepEqual(await n.run(async (io, target) => (await io.in(target).fetchSockets()).map(({ id }) => id), target), [id]);
        }
        const joined = "public:by-id";
        await n.run((io, id, room) => io.in(id).socketsJoin(room), socket.id, joined);
        await until("it is in the room", async () => (await ack(socket, "whoami")).rooms.includes(joined));
        if (!transports.includes("polling")) {
          const told = heard(socket, "says");
          await n.run((io, id) => void io.to(id).emit("says", "from Node.js"), socket.id);
          assert.deepEqual(await told, ["from Node.js"]);
        }
        const gone = disconnected(socket);
        await n.run((io, id) => io.in(id).disconnectSockets(), socket.id);
        assert.equal(await gone, "io server disconnect");
      });
    }
  });
}



// The Admin UI of a cluster: two Switchboard nodes and one of Node.js that its own admin UI instruments.

import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { describe, it } from "node:test";

import { PASSWORD, Page, USERNAME, adminUi, shape } from "./support/admin.mjs";
import { ack, connect, connectWith, disconnected, heard } from "./support/clients.mjs";
import { Cluster } from "./support/cluster.mjs";
import { isOurId } from "./support/ids.mjs";
import { token } from "./support/tokens.mjs";

const password = createRequire(import.meta.url)("bcryptjs").hashSync(PASSWORD, 4);
const instrumented = { auth: { type: "basic", username: USERNAME, password }, serverId: "n", mode: "development" };

for (const protocol of ["classic", "sharded"]) {
  describe(`the admin UI of a ${protocol} cluster with a Node.js node`, async () => {
    const cluster = await Cluster.start(undefined, { protocol, nodes: { n: { admin: instrumented } }, config: { admin_ui: adminUi({ password }), redis: { request_timeout: "5s" } } });
    const { a, b, n } = cluster.servers;
    const isOurs = isOurId;

    /** A client on each server, with what the page of each is told about all. */
    async function scene(t) {
      const pages = { a: await Page.settled(t, a), n: await Page.settled(t, n) };
      const sockets = { a: await connect(t, a), b: await connectWith(t, b, await token("ada")), n: await connect(t, n) };
      const ids = Object.fromEntries(Object.entries(sockets).map(([name, { id }]) => [name, id]));
      for (const page of Object.values(pages)) for (const id of Object.values(ids)) await page.told("socket_connected", (socket) => socket.id === id);
      return { pages, sockets, ids };
    }

    it("shows all servers on the page of each", async (t) => {
      for (const server of [a, b, n]) {
        const page = await Page.open(t, server);
        for (const id of ["a", "b", "n"]) await page.told("server_stats", ({ serverId }) => serverId === id);
      }
    });

    it("lists the sockets of all servers to who comes, on each", async (t) => {
      const { sockets, ids } = await scene(t);
      for (const socket of Object.values(sockets)) await ack(socket, "join", "public:lobby");
      for (const server of [a, b, n]) {
        const page = await Page.settled(t, server);
        const listed = new Map(page.sockets.filter(({ nsp }) => nsp === "/").map((socket) => [socket.id, socket]));
        assert.deepEqual([...listed.keys()].sort(), Object.values(ids).sort());
        assert.ok(page.sockets.every(({ id, nsp }) => nsp !== "/admin" || !isOurs(id)), "the pages of our nodes are hidden");
        for (const { id, rooms, transport, clientId } of listed.values()) {
          assert.deepEqual(rooms.filter((room) => !/^user:|^authenticated$/.test(room)).sort(), [id, "public:lobby"].sort());
          assert.equal(transport, "websocket");
          assert.equal(clientId.length, 12);
        }
        assert.ok(listed.get(ids.b).rooms.includes("user:ada"));
        if (server !== n) assert.deepEqual(listed.get(ids.b).data, { user: "ada" });
      }
    });

    it("tells of every event what Node.js tells, in the same shapes", async (t) => {
      const { pages, sockets, ids } = await scene(t);
      for (const page of Object.values(pages)) await page.told("server_stats", ({ serverId }) => serverId === "b");
      for (const socket of Object.values(sockets)) {
        await ack(socket, "join", "public:lobby");
        await ack(socket, "leave", "public:lobby");
        socket.emit("nobody knows it", 1, { deep: [true, null] });
      }
      // An event that a socket gets, said by its own node.
      for (const name of ["a", "n"]) {
        const says = heard(sockets[name], "says");
        pages[name].emit("emit", "/", ids[name], "says", 1, { deep: ["x"] });
        await says;
      }
      for (const socket of Object.values(sockets)) socket.close();
      for (const page of Object.values(pages)) {
        for (const id of Object.values(ids)) await page.told("room_left", (nsp, room, socket) => room === id && socket === id);
        for (const serverId of ["a", "n"]) {
          const counts = ({ aggregatedEvents }) => ["rawConnection", "rawDisconnection", "bytesIn", "bytesOut"].every((type) => page.inbox.of("server_stats").some(([stats]) => stats.serverId === serverId && stats.aggregatedEvents.some((event) => event.type === type)));
          await page.told("server_stats", counts, 10_000);
        }
        const shapes = { ours: {}, theirs: {} };
        for (const [event, first, ...rest] of page.inbox.events) {
          if (["session", "config", "all_sockets"].includes(event)) continue;
          let ours;
          if (event === "server_stats") {
            ours = first.serverId !== "n";
            // What has no reason has no subType; what our charts lack, the page does not draw.
            for (const counted of first.aggregatedEvents) delete counted.subType;
            if (!first.aggregatedEvents.length) continue;
          } else {
            ours = isOurs(first.id ?? rest.find((value) => Object.values(ids).includes(value)) ?? "");
          }
          if (first.nsp === "/admin" || first === "/admin") continue;
          const kinds = ours ? shapes.ours : shapes.theirs;
          // Events are those of the clients, so their arguments are not compared.
          const args = event.startsWith("event_") ? [first, rest[0], typeof rest[1][0], rest[2]] : [first, ...rest];
          (kinds[event] ??= new Set()).add(JSON.stringify(args.map((value) => shape(value))));
        }
        const sorted = (kinds) => Object.fromEntries(Object.entries(kinds).map(([event, set]) => [event, [...set].sort()]).sort());
        assert.deepEqual(sorted(shapes.ours), sorted(shapes.theirs));
        assert.deepEqual(Object.keys(shapes.ours).sort(), ["event_received", "event_sent", "room_joined", "room_left", "server_stats", "socket_connected", "socket_disconnected"]);
      }
    });

    it("offers the same and describes sockets the same as Node.js", async (t) => {
      await scene(t);
      const [ours, theirs] = [await Page.settled(t, a), await Page.settled(t, n)];
      assert.deepEqual(await ours.features(), await theirs.features());
      const kinds = (page) => new Set(page.sockets.map((socket) => JSON.stringify(shape(socket))));
      assert.deepEqual([kinds(ours).size, kinds(theirs).size], [1, 1]);
      assert.deepEqual(kinds(ours), kinds(theirs));
      assert.equal(typeof (await ours.told("session"))[0], typeof (await theirs.told("session"))[0]);
    });

    for (const [here, there] of [["a", "b"], ["a", "n"], ["n", "a"]]) {
      it(`acts from the page of ${here} on a socket of ${there}`, async (t) => {
        const { pages, sockets, ids } = await scene(t);
        const [page, socket, id] = [pages[here], sockets[there], ids[there]];
        const says = heard(socket, "says");
        page.emit("emit", "/", id, "says", { by: here });
        assert.deepEqual(await says, [{ by: here }]);

        page.emit("join", "/", "ops:chosen", id);
        assert.deepEqual((await page.told("room_joined", (nsp, room) => room === "ops:chosen")).slice(0, 3), ["/", "ops:chosen", id]);
        assert.ok((await ack(socket, "whoami")).rooms.includes("ops:chosen"));
        page.emit("leave", "/", "ops:chosen", "ops:chosen");
        assert.deepEqual((await page.told("room_left", (nsp, room) => room === "ops:chosen")).slice(0, 3), ["/", "ops:chosen", id]);

        const gone = disconnected(socket);
        page.emit("_disconnect", "/", false, id);
        assert.equal(await gone, "io server disconnect");
        assert.equal((await page.told("socket_disconnected", (nsp, left) => left === id))[2], "server namespace disconnect");
      });
    }

    it("knows on every node of ours the session that one of them gave", async (t) => {
      const [sessionId] = await (await Page.open(t, a)).told("session");
      const page = await Page.settled(t, b, { auth: { sessionId } });
      assert.deepEqual(page.inbox.of("session"), []);
    });
  });
}

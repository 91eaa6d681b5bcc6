// The Admin UI and Redis: silent while nobody looks, and of use while Redis is away.

import assert from "node:assert/strict";
import { describe, it } from "node:test";

import { Page, adminUi } from "./support/admin.mjs";
import { connect } from "./support/clients.mjs";
import { redisFor } from "./support/redis.mjs";
import { serverFor } from "./support/server.mjs";
import { until } from "./support/waiting.mjs";

describe("the admin UI of nodes on one Redis", () => {
  it("tells the other nodes nothing while nobody looks", async (t) => {
    const redis = await redisFor(t);
    const nodeOf = (node_id) => serverFor(t, { node_id, admin_listen: "127.0.0.1:0", redis: { url: redis.url }, admin_ui: adminUi() });
    const [a, b] = [await nodeOf("a"), await nodeOf("b")];
    const address = await until("the admin port is named", () => /for administration address=(\S+)/.exec(b.logs)?.[1]);
    const told = async () => {
      const metrics = await (await fetch(`http://${address}/metrics`, { signal: AbortSignal.timeout(5_000) })).text();
      return Number(/^switchboard_cluster_broadcasts_published_total (\d+)/m.exec(metrics)[1]);
    };
    /** How much had been told when nothing was told for longer than the numbers wait. */
    const silence = async () => {
      let [last, since] = [await told(), Date.now()];
      await until("nothing is told any more", async () => {
        const now = await told();
        if (now !== last) [last, since] = [now, Date.now()];
        return Date.now() - since > 5_000;
      }, 30_000);
      return last;
    };
    const before = await silence();
    await connect(t, b);
    assert.equal(await told(), before);

    const page = await Page.settled(t, a);
    assert.equal(page.sockets.length, 1);
    await page.told("server_stats", ({ serverId }) => serverId === "b");
    const { id } = await connect(t, b);
    await page.told("socket_connected", (socket) => socket.id === id);
    assert.ok((await told()) >= before + 2);

    page.socket.close();
    const after = await silence();
    await connect(t, b);
    assert.equal(await told(), after);
  });

  it("shows its own sockets while Redis is away, and all when it is back", async (t) => {
    const redis = await redisFor(t);
    const nodeOf = (node_id) => serverFor(t, { node_id, redis: { url: redis.url }, admin_ui: adminUi() });
    const [a, b] = [await nodeOf("a"), await nodeOf("b")];
    const [here, there] = [await connect(t, a), await connect(t, b)];
    const ready = async (server) => (await server.get("/readyz")).status === 200;
    const listed = async () => (await Page.settled(t, a)).sockets.map(({ id }) => id).sort();
    assert.deepEqual(await listed(), [here.id, there.id].sort());

    await redis.kill();
    await until("the node misses Redis", async () => !(await ready(a)));
    const page = await Page.settled(t, a);
    assert.deepEqual(page.sockets.map(({ id }) => id), [here.id]);
    const { id } = await connect(t, a);
    await page.told("socket_connected", (socket) => socket.id === id);

    await redis.start();
    await until("both are back", async () => (await ready(a)) && (await ready(b)), 15_000);
    await until("all are listed", async () => (await listed()).length === 3, 15_000);
    await page.told("server_stats", ({ serverId }) => serverId === "b", 15_000);
  });
});

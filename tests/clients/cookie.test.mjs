// The session id as a cookie, which some load balancers keep a client on its node by: the same header as
// Node.js sends, on the same answers.

import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer } from "node:http";
import { describe, it } from "node:test";

import { Server } from "socket.io";

import { ack, connect } from "./support/clients.mjs";
import { httpRequest, pollingUrl, rawSession } from "./support/raw.mjs";
import { runBinary, serverFor } from "./support/server.mjs";

async function nodeServer(t, cookie) {
  const http = createServer();
  const io = new Server(http, { cookie });
  http.listen(0, "127.0.0.1");
  await once(http, "listening");
  t.after(() => io.close());
  return { url: `http://127.0.0.1:${http.address().port}` };
}

/** The cookie of a handshake by polling, its session's id replaced. */
async function cookieOf(server) {
  const { headers, text } = await httpRequest(server, "/socket.io/?EIO=4&transport=polling");
  const { sid } = JSON.parse(text.slice(1));
  assert.equal(headers["set-cookie"].length, 1);
  assert.ok(headers["set-cookie"][0].includes(sid), "the id that the client uses");
  return headers["set-cookie"][0].replace(sid, "<sid>");
}

describe("engine.cookie", () => {
  const settings = {
    "a name": ["io", "io"],
    "a table": [{ name: "node", path: "/chat/", http_only: false, max_age: "1h" }, { name: "node", path: "/chat/", httpOnly: false, maxAge: 3600 }],
    "a strict one": [{ same_site: "strict", secure: true }, { sameSite: "strict", secure: true }],
  };
  for (const [name, [ours, node]] of Object.entries(settings)) {
    it(`is sent as by Node.js: ${name}`, async (t) => {
      const server = await serverFor(t, { engine: { cookie: ours } });
      assert.equal(await cookieOf(server), await cookieOf(await nodeServer(t, typeof node === "string" ? { name: node } : node)));
    });
  }

  it("comes with the handshake and with nothing else, and disturbs no client", async (t) => {
    const server = await serverFor(t, { engine: { cookie: "io" } });
    const session = await rawSession(server);
    const { status } = await session.post("40");
    assert.equal(status, 200);
    assert.equal((await httpRequest(server, pollingUrl(server, session.sid).slice(server.url.length))).headers["set-cookie"], undefined);
    const client = await connect(t, server, { transports: ["polling", "websocket"] });
    assert.equal(await ack(client, "events", 1), 1);
  });

  it("is not sent unless it is asked for", async (t) => {
    const { headers } = await httpRequest(await serverFor(t, {}), "/socket.io/?EIO=4&transport=polling");
    assert.equal(headers["set-cookie"], undefined);
  });

  it("is refused if no browser would take it", async () => {
    const { code, stderr } = await runBinary(["config"], { config: { engine: { cookie: "a b" } } });
    assert.equal(code, 2);
    assert.match(stderr, /engine\.cookie.*the name of a cookie/);
  });
});

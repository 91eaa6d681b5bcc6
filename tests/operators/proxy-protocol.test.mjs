// A proxy that passes bytes on says by the PROXY protocol where a client comes from: whose word is taken,
// and that limits by address count the clients and not the proxy.

import assert from "node:assert/strict";
import { request } from "node:http";
import { connect as connectTcp } from "node:net";
import { describe, it } from "node:test";

import { ack, connect } from "../clients/support/clients.mjs";
import { serverFor } from "../clients/support/server.mjs";
import { within } from "../clients/support/waiting.mjs";
import { proxyFor } from "./proxy.mjs";

/** The status of a websocket's handshake from one of this machine's own addresses: 101 if it is open. */
function from(t, localAddress, { url }) {
  const headers = { connection: "Upgrade", upgrade: "websocket", "sec-websocket-version": "13", "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==" };
  const asked = request(`${url}/socket.io/?EIO=4&transport=websocket`, { localAddress, headers, agent: false });
  t.after(() => asked.destroy());
  return within(5_000, `a websocket from ${localAddress}`, new Promise((resolve, reject) => {
    asked.once("upgrade", (response, socket) => {
      t.after(() => socket.destroy());
      resolve(response.statusCode);
    });
    asked.once("response", (response) => resolve(response.statusCode));
    asked.once("error", reject);
    asked.end();
  }));
}

/** The first line that the server answers to these bytes, or nothing if it closes. */
async function answer(t, server, bytes) {
  const socket = connectTcp(server.port, "127.0.0.1");
  t.after(() => socket.destroy());
  let text = "";
  socket.on("data", (chunk) => (text += chunk)).on("error", () => {});
  socket.write(bytes);
  await within(5_000, "the connection ends", new Promise((closed) => socket.once("close", closed)));
  return text.split("\r\n")[0];
}

const LIMITS = { connections_per_address: 1 };
const REQUEST = "GET /healthz HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n";

for (const [version, option] of [["1", "send-proxy"], ["2", "send-proxy-v2"]]) {
  describe(`the PROXY protocol, version ${version}, of a real HAProxy`, () => {
    const behind = async (t, edge) => {
      const server = await serverFor(t, { limits: LIMITS, edge });
      // Its first look at the server, by HTTP, takes the place of its address until it has ended.
      return proxyFor(t, "haproxy-tcp", [server, server], (text) => text.replaceAll("send-proxy-v2", option).replaceAll(/ check check-send-proxy.*/g, ""));
    };

    it("tells the clients apart", async (t) => {
      const proxy = await behind(t, { trusted_proxies: ["127.0.0.1/32"] });
      assert.equal(await from(t, "127.0.0.2", proxy), 101);
      assert.equal(await from(t, "127.0.0.3", proxy), 101);
      assert.equal(await from(t, "127.0.0.2", proxy), 503, "one for each address");
    });

    it("passes health checks, which speak of nobody", async (t) => {
      const server = await serverFor(t, { edge: { trusted_proxies: ["127.0.0.1/32"] } });
      const proxy = await proxyFor(t, "haproxy-tcp", [server, server], (text) => text.replaceAll("send-proxy-v2", option));
      assert.equal(await ack(await connect(t, proxy, { transports: ["polling", "websocket"] }), "events", "well"), "well");
    });
  });
}

describe("the word of somebody else", () => {
  const header = "PROXY TCP4 203.0.113.7 10.0.0.1 4660 3000\r\n";

  it("is a broken request unless the proxy is trusted", async (t) => {
    const server = await serverFor(t, {});
    assert.match(await answer(t, server, header + REQUEST), /^(HTTP\/1\.1 400 .*)?$/);
    assert.equal(await answer(t, server, REQUEST), "HTTP/1.1 200 OK");
  });

  it("is read from a trusted one, which may as well say nothing", async (t) => {
    const server = await serverFor(t, { edge: { trusted_proxies: ["127.0.0.1"] } });
    assert.equal(await answer(t, server, header + REQUEST), "HTTP/1.1 200 OK");
    assert.equal(await answer(t, server, REQUEST), "HTTP/1.1 200 OK");
    assert.equal(await answer(t, server, `PROXY nonsense\r\n${REQUEST}`), "", "a broken header closes");
    assert.equal((await server.get("/healthz")).status, 200);
  });
});

// The official Admin UI in a browser: the pages of its package as they are, and two nodes.

import assert from "node:assert/strict";
import { once } from "node:events";
import { mkdir, readFile } from "node:fs/promises";
import { createServer } from "node:http";
import { createRequire } from "node:module";
import { dirname, extname, join } from "node:path";
import { after, before, describe, it } from "node:test";

import { PASSWORD, USERNAME, adminUi } from "./support/admin.mjs";
import { launchBrowser } from "./support/browser.mjs";
import { ack, connectWith, connected, disconnected, open as openSocket } from "./support/clients.mjs";
import { redisFor } from "./support/redis.mjs";
import { clientIdOf } from "./support/ids.mjs";
import { serverForThisFile } from "./support/server.mjs";
import { SECRET, token } from "./support/tokens.mjs";
import { until } from "./support/waiting.mjs";

const DEADLINE = 15_000;
const PAGES = join(dirname(createRequire(import.meta.url).resolve("@socket.io/admin-ui/package.json")), "ui/dist");
const KINDS = { ".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml", ".png": "image/png" };
const SHOTS = join(import.meta.dirname, "../../target/admin-ui"); // nothing that is kept

const hosting = createServer(async (request, response) => {
  const path = new URL(request.url, "http://page").pathname;
  const body = await readFile(join(PAGES, path === "/" ? "index.html" : path)).catch(() => null);
  response.writeHead(body ? 200 : 404, { "content-type": KINDS[extname(path)] ?? KINDS[".html"] }).end(body);
}).listen(0, "127.0.0.1");
await once(hosting, "listening");
const origin = `http://127.0.0.1:${hosting.address().port}`;
after(() => hosting.close());

const redis = await redisFor();
const nodeOf = (node_id) => serverForThisFile({
  node_id, auth: { hs256_secret: SECRET }, engine: { cors_origins: [origin] }, redis: { url: redis.url }, admin_ui: adminUi(),
});
const servers = { east: await nodeOf("east"), west: await nodeOf("west") };

let browser, resident;
before(async () => {
  browser = await launchBrowser();
  await mkdir(SHOTS, { recursive: true });
  // The page chooses a namespace when it is told of sockets for the first time.
  resident = await connected(openSocket(servers.east, { auth: { token: await token("resident") } }));
});
after(() => browser?.close());
after(() => resident?.close());

/** A tab of the Admin UI that nobody has logged in to. */
async function open(t) {
  const context = await browser.newContext({ viewport: { width: 1500, height: 1000 } });
  t.after(() => context.close());
  const tab = await context.newPage();
  tab.setDefaultTimeout(DEADLINE);
  const errors = [];
  tab.on("pageerror", (error) => errors.push(error.message));
  t.after(() => assert.deepEqual(errors, [], "the page fails at nothing"));
  await tab.goto(origin);
  return tab;
}

async function logIn(tab, { server = servers.east, username = USERNAME, password = PASSWORD } = {}) {
  await tab.getByLabel("Server URL").fill(server.url);
  await tab.getByLabel("Username").fill(username);
  await tab.getByLabel("Password").fill(password);
  await tab.getByRole("button", { name: "Connect" }).click();
}

/** A tab of an admin. */
async function admin(t) {
  const tab = await open(t);
  await logIn(tab);
  await row(tab, "HEALTHY", "100.0 %").filter({ hasNotText: "UNHEALTHY" }).waitFor();
  return tab;
}

/** Goes to one of the pages by the address in the hash. */
const visit = (tab, path) => tab.evaluate((path) => void (location.hash = path), path);
const row = (tab, ...texts) => texts.reduce((rows, hasText) => rows.filter({ hasText }), tab.locator("tbody tr"));
const shot = (tab, name) => tab.screenshot({ path: join(SHOTS, `${name}.png`) });

describe("the official admin UI in a browser", () => {
  it("does not let in who has another password", async (t) => {
    const tab = await open(t);
    await logIn(tab, { password: "guess" });
    await tab.getByText("Invalid credentials").waitFor();
    await logIn(tab);
    await row(tab, "HEALTHY", "100.0 %").waitFor();
    await tab.getByLabel("Password").waitFor({ state: "hidden" });
  });

  it("shows both nodes, and the sockets of both with rooms and user", async (t) => {
    const alice = await connectWith(t, servers.east, await token("alice"));
    const bob = await connectWith(t, servers.west, await token("bob"), { transports: ["polling"] });
    for (const socket of [alice, bob]) await ack(socket, "join", "public:lobby");
    const tab = await admin(t);
    await visit(tab, "/servers/");
    for (const [name, { process }] of Object.entries(servers)) await row(tab, name, String(process.pid), "HEALTHY").waitFor();
    await shot(tab, "servers");

    await visit(tab, "/sockets/");
    await row(tab, alice.id, "WebSocket").waitFor();
    await row(tab, bob.id, "HTTP long-polling").click();
    await tab.getByText('"user": "bob"').waitFor();
    for (const room of [bob.id, "authenticated", "public:lobby", "user:bob"]) await row(tab, room).first().waitFor();
    await shot(tab, "socket");

    await visit(tab, "/rooms/");
    await row(tab, "public:lobby", "2").waitFor();
    await visit(tab, "/clients/");
    await row(tab, clientIdOf(alice)).waitFor();
  });

  it("shows what happens as it happens", async (t) => {
    const tab = await admin(t);
    await visit(tab, "/events/");
    const carol = await connectWith(t, servers.west, await token("carol"));
    await row(tab, carol.id, "Connection").first().waitFor();
    await ack(carol, "events", "said by carol");
    await row(tab, carol.id, "Event received", "events").first().waitFor();
    await row(tab, carol.id, "Event sent", "events").first().waitFor();
    await shot(tab, "events");
    const { id } = carol;
    carol.close();
    await row(tab, id, "Disconnection").first().waitFor();
    await visit(tab, "/");
    await tab.locator("canvas").first().waitFor();
    await shot(tab, "dashboard");
  });

  it("acts on a socket of the other node: joins, leaves, disconnects", async (t) => {
    const tab = await admin(t);
    const dave = await connectWith(t, servers.west, await token("dave"));
    await visit(tab, "/sockets/");
    await row(tab, dave.id).click();
    await tab.getByText('"user": "dave"').waitFor();

    await tab.getByLabel("Join a room").fill("ops:chosen");
    await tab.locator("form", { has: tab.getByLabel("Join a room") }).locator("button[type=submit]").click();
    await row(tab, "ops:chosen").waitFor();
    assert.ok((await ack(dave, "whoami")).rooms.includes("ops:chosen"));

    // The page goes on to the room, as it does for a click anywhere in the row.
    await row(tab, "ops:chosen").getByRole("button").click();
    await until("dave has left the room", async () => !(await ack(dave, "whoami")).rooms.includes("ops:chosen"));

    const [gone, { id }] = [disconnected(dave), dave];
    await visit(tab, "/sockets/");
    await row(tab, id, "WebSocket").getByRole("button").click();
    assert.equal(await gone, "io server disconnect");
    await visit(tab, "/sockets/");
    await row(tab, resident.id, "WebSocket").waitFor();
    await row(tab, id, "WebSocket").waitFor({ state: "detached" });
  });

  it("comes back by its session when the page is loaded again, at the other node as well", async (t) => {
    const tab = await admin(t);
    await tab.evaluate((url) => localStorage.setItem("server_url", url), servers.west.url);
    await tab.reload();
    await visit(tab, "/servers/");
    for (const name of Object.keys(servers)) await row(tab, name, "HEALTHY").waitFor();
    await tab.getByLabel("Password").waitFor({ state: "hidden" }); // nobody is asked for it
  });
});

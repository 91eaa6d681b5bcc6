// Messages that wait for users, on the demo's page in a browser: bob is away while alice writes to him.

import assert from "node:assert/strict";
import { request } from "node:http";
import { after, before, describe, it } from "node:test";

import { launchBrowser } from "./support/browser.mjs";
import { BackEnd } from "./support/kept.mjs";
import { servePage } from "./support/page.mjs";
import { freePorts, serverFor, serverForThisFile } from "./support/server.mjs";
import { SECRET, token } from "./support/tokens.mjs";
import { DEADLINE, until, within } from "./support/waiting.mjs";

const [admin] = await freePorts(1);
const configured = { auth: { hs256_secret: SECRET }, admin_listen: `127.0.0.1:${admin}`, store: { url: "sqlite::memory:" }, inbox: { enabled: true } };
const server = await serverForThisFile(configured);
const backEnd = new BackEnd(admin);
let page, browser;
const complaints = []; // whatever a console said that is no plain log, in all tabs

before(async () => {
  browser = await launchBrowser();
  page = await servePage([server.url], admin);
});
after(() => browser?.close());
after(() => page?.process.kill());

let people = 0;
const somebody = (name) => `${name}-${people++}`;

/** A browser, which remembers what a page keeps in it. */
async function browserFor(t) {
  const context = await browser.newContext();
  t.after(() => context.close());
  return context;
}

/** A tab of a user on a device that is connected. */
async function open(context, user, device, address = page.url) {
  const tab = await context.newPage();
  tab.setDefaultTimeout(DEADLINE);
  tab.on("console", (message) => message.type() === "error" && complaints.push(message.text()));
  tab.on("pageerror", (error) => complaints.push(error.message));
  await tab.goto(`${address}?${new URLSearchParams({ user, ...(device && { device }) })}`);
  await connected(tab);
  return tab;
}

const connected = (tab) => tab.locator("#state[data-state=connected]").waitFor();
const letters = (tab) => tab.locator("#letter-log li p").allInnerTexts();
const letter = (tab, text) => tab.locator("#letter-log li", { hasText: text });

async function leave(tab, to, text) {
  await tab.fill("#letter-to", to);
  await tab.fill("#letter-text", text);
  await tab.click("#letter-form button");
  await tab.locator("#letter-sent", { hasText: `Kept for ${to} as message` }).waitFor();
}

/** The user's device has acknowledged everything up to a number. */
const acknowledged = (user, device, seq) =>
  until(`${device} has acknowledged ${seq}`, async () => (await backEnd.inbox(user)).devices[device] >= seq);

describe("a message that is left on the page", () => {
  it("waits for bob, and comes to each of his devices once, also after a reload", async (t) => {
    const [alice, bob] = [somebody("alice"), somebody("bob")];
    const [phone, desk] = [await browserFor(t), await browserFor(t)];
    // Both devices are known, and then bob is away.
    for (const [context, device] of [[phone, "phone"], [desk, "desk"]]) {
      const tab = await open(context, bob, device);
      await until("it is known", async () => device in (await backEnd.inbox(bob)).devices);
      await tab.close();
    }
    const writer = await open(await browserFor(t), alice);
    await leave(writer, bob, "see you at eight");

    const onDesk = await open(desk, bob, "desk");
    assert.match(await letter(onDesk, "see you at eight").innerText(), new RegExp(`^${alice}\\b`, "m"));
    await acknowledged(bob, "desk", 1);
    await onDesk.reload();
    await connected(onDesk);
    // Order is kept: had the first one been on its way again, it would be before this one.
    await leave(writer, bob, "or at nine");
    await letter(onDesk, "or at nine").waitFor();
    assert.deepEqual(await letters(onDesk), ["see you at eight", "or at nine"]);

    const onPhone = await open(phone, bob); // as it was called last time
    assert.equal(await onPhone.locator("#device").innerText(), "phone");
    await letter(onPhone, "or at nine").waitFor();
    assert.deepEqual(await letters(onPhone), ["see you at eight", "or at nine"]);
    assert.deepEqual(await letters(writer), [], "and not to who wrote it");
  });

  it("comes at once while bob is there, once to all tabs of his device", async (t) => {
    const bob = somebody("bob");
    const context = await browserFor(t);
    const tabs = [await open(context, bob, "phone"), await open(context, bob, "phone")];
    const guest = await open(await browserFor(t), "");
    await leave(guest, bob, "hello");
    for (const tab of tabs) {
      assert.match(await letter(tab, "hello").innerText(), /^guest\b/m);
      assert.deepEqual(await letters(tab), ["hello"]);
    }
    assert.equal(await guest.locator("#letter-log").isVisible(), false, "a guest gets none");
  });

  it("is shown as text, whatever it is, as is what another program leaves", async (t) => {
    const bob = somebody("bob");
    const script = "<script>document.title = 'mine'</script><img src=x onerror=alert(1)>";
    await leave(await open(await browserFor(t), "alice"), bob, script);
    await backEnd.kept(bob, { event: "<b>invoice</b>", args: ["<i>march</i>", 120] });
    await backEnd.kept(bob, { event: "letter", args: [{ from: ["<b>x</b>"], text: 7 }] });
    const tab = await open(await browserFor(t), bob);
    await letter(tab, "invoice").waitFor();
    await letter(tab, "from outside this page").nth(1).waitFor();
    assert.deepEqual(await letters(tab), [script, "<b>invoice</b> <i>march</i> 120", 'letter {"from":["<b>x</b>"],"text":7}']);
    assert.equal(await tab.locator("#letter-log :is(script, img, b b, i)").count(), 0);
    assert.match(await tab.title(), new RegExp(bob));
  });

  it("is shown once if the connection is cut before its acknowledgement arrives", async (t) => {
    const bob = somebody("bob");
    const tab = await (await browserFor(t)).newPage();
    tab.setDefaultTimeout(DEADLINE);
    let [came, cut] = [0, false];
    await tab.routeWebSocket(/socket\.io/, (client) => {
      const upstream = client.connectToServer();
      upstream.onMessage((message) => {
        if (`${message}`.includes("cut here")) came++;
        client.send(message);
      });
      client.onMessage((message) => {
        // "43" begins an acknowledgement. The server never hears the first one.
        if (cut || !`${message}`.startsWith("43")) return upstream.send(message);
        cut = true;
        client.close();
        upstream.close();
      });
    });
    await tab.goto(`${page.url}?user=${bob}&device=phone`);
    await connected(tab);
    await backEnd.kept(bob, { event: "note", args: ["cut here"] });
    await acknowledged(bob, "phone", 1);
    assert.deepEqual([cut, came], [true, 2], "it has come twice");
    assert.deepEqual(await letters(tab), ["note cut here"]);
    await tab.reload();
    await backEnd.kept(bob, { event: "note", args: ["the end"] });
    await letter(tab, "the end").waitFor();
    assert.deepEqual(await letters(tab), ["note cut here", "note the end"]);
  });

  it("has nothing to complain about in the console", () => assert.deepEqual(complaints, []));
});

describe("leaving a message", () => {
  it("says what is missing where there is no inbox, or no admin port", async (t) => {
    const [port, nobody] = await freePorts(2);
    const poor = await serverFor(t, { auth: { hs256_secret: SECRET }, admin_listen: `127.0.0.1:${port}` });
    for (const [admin, said] of [[port, /no inbox.*store\.url.*inbox\.enabled/], [nobody, /--admin/]]) {
      const pages = await servePage([poor.url], admin);
      t.after(() => pages.process.kill());
      const tab = await open(await browserFor(t), "alice", undefined, pages.url);
      await tab.locator("#letter-missing", { hasText: said }).waitFor();
      await tab.fill("#letter-text", "lost?");
      await tab.click("#letter-form button");
      await tab.locator("#notices", { hasText: "Perhaps not kept" }).waitFor();
      assert.equal(await tab.inputValue("#letter-text"), "lost?", "the words are still there");
    }
  });

  it("twice with the same id leaves one message", async () => {
    const bob = somebody("bob");
    const body = JSON.stringify({ to: bob, text: "hi", id: crypto.randomUUID(), token: await token("alice") });
    for (let n = 0; n < 2; n++) assert.deepEqual(await post({ body }), { status: 200, body: { seq: 1 } });
    const { messages } = await backEnd.inbox(bob);
    assert.deepEqual(messages.map(({ event, args: [{ from, text }] }) => [event, from, text]), [["letter", "alice", "hi"]]);
  });

  it("is for this page alone, and for what makes sense", async () => {
    const good = { to: "bob", text: "hi", id: crypto.randomUUID() };
    const foreign = [{ origin: "http://elsewhere.test" }, { origin: "null" }, { host: "rebound.test" }, { host: "rebound.test", origin: "http://rebound.test" }];
    for (const headers of foreign) assert.equal((await post({ body: JSON.stringify(good), headers })).status, 403, JSON.stringify(headers));
    for (const part of [{ to: "Bob" }, { to: undefined }, { to: ["bob"] }, { text: "" }, { text: "x".repeat(301) }, { text: 1 }, { id: "1" }, { id: undefined }]) {
      assert.equal((await post({ body: JSON.stringify({ ...good, ...part }) })).status, 400, JSON.stringify(part));
    }
    for (const body of ["", "null", "[", "7"]) assert.equal((await post({ body })).status, 400, body);
    assert.equal((await post({ body: JSON.stringify({ ...good, more: "x".repeat(5_000) }) })).status, 413);
    for (const token of ["garbage", null, 7]) assert.equal((await post({ body: JSON.stringify({ ...good, token }) })).status, 401);
    assert.deepEqual((await backEnd.inbox("bob")).messages, []);
  });
});

// Last, as is what the browser itself reports: attempts that fail.
describe("a server that has forgotten everything", () => {
  it("has its messages shown, though it counts from 1 again", async (t) => {
    const bob = somebody("bob");
    const ports = await freePorts(2);
    const servers = await Promise.all(ports.map((port) => serverFor(t, { ...configured, admin_listen: `127.0.0.1:${port}` })));
    const pages = await servePage(servers.map(({ url }) => url), admin);
    t.after(() => pages.process.kill());
    const tab = await open(await browserFor(t), bob, "phone", pages.url);
    await tab.locator("#server", { hasText: "127" }).waitFor();
    const name = await tab.locator("#server").innerText();
    const here = servers.findIndex(({ url }) => url.endsWith(name));
    for (const text of ["one", "two", "three"]) await new BackEnd(ports[here]).kept(bob, { event: "note", args: [text] });
    await letter(tab, "three").waitFor();
    // The page goes to the other one, which has never heard of bob, as a server in memory after a restart.
    await servers[here].kill();
    await new BackEnd(ports[1 - here]).kept(bob, { event: "note", args: ["four"] });
    await letter(tab, "four").waitFor();
    assert.deepEqual(await letters(tab), ["note one", "note two", "note three", "note four"]);
  });
});

/** Posts to the page's server with headers of one's own. */
function post({ body, headers = {} }) {
  return within(DEADLINE, "the page's server answers", new Promise((resolve, reject) => {
    const asked = request(`${page.url}letters`, { method: "POST", headers }, async (response) => {
      const text = (await response.setEncoding("utf8").toArray()).join("");
      resolve({ status: response.statusCode, body: JSON.parse(text) });
    });
    asked.on("error", reject).end(body);
  }));
}

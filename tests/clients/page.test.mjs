// The demo's page in a browser: two tabs of alice, one of bob.

import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";

import { launchBrowser } from "./support/browser.mjs";
import { ack, connectWith } from "./support/clients.mjs";
import { servePage } from "./support/page.mjs";
import { freePorts, serverFor, serverForThisFile } from "./support/server.mjs";
import { SECRET, token } from "./support/tokens.mjs";
import { within } from "./support/waiting.mjs";

const DEADLINE = 10_000;

const [admin] = await freePorts(1);
const server = await serverForThisFile({ node_id: "page-test", admin_listen: `127.0.0.1:${admin}`, auth: { hs256_secret: SECRET }, drain: { spread: "1s" } });
let page, browser;
const complaints = []; // whatever a console said that is no plain log, in all tabs

before(async () => {
  browser = await launchBrowser();
  page = await servePage([server.url], admin);
});
after(() => browser?.close());
after(() => page?.process.kill());

/** A tab of `user` ("" for a guest) that is connected. */
async function tabOf(t, user, options = {}) {
  const context = await browser.newContext(options);
  t.after(() => context.close());
  const tab = await context.newPage();
  tab.setDefaultTimeout(DEADLINE);
  tab.on("console", (message) => message.type() === "error" && complaints.push(message.text()));
  tab.on("pageerror", (error) => complaints.push(error.message));
  await tab.goto(`${page.url}?user=${user}`);
  await tab.locator("#state[data-state=connected]", { hasText: "page-test" }).waitFor();
  return tab;
}

async function say(tab, where, text) {
  await tab.fill(`#${where}-text`, text);
  await tab.click(`#${where}-form button`);
}

const line = (tab, where, text) => tab.locator(`#${where}-log li`, { hasText: text });
const person = (tab, user) => tab.locator(`#online li[data-user="${user}"]`);

describe("the page", () => {
  it("shows a word of one tab in the other tab of the user, and not to bob", async (t) => {
    const [first, second, bob] = [await tabOf(t, "alice"), await tabOf(t, "alice"), await tabOf(t, "bob")];
    await say(first, "tabs", "hello, other tab");
    assert.match(await line(second, "tabs", "hello, other tab").innerText(), /from your other tab/);
    assert.match(await line(first, "tabs", "hello, other tab").innerText(), /from this tab/);

    // Bob's own round trip comes after: had the word been on its way to him, it would be there.
    await say(bob, "tabs", "bob's own");
    await line(bob, "tabs", "bob's own").waitFor();
    assert.equal(await bob.locator("#tabs-log li").count(), 1);
    assert.equal(await first.locator("#tabs-log li").count(), 1, "and no tab hears it twice");
    assert.equal(await second.locator("#tabs-log li").count(), 1);
  });

  it("shows who is online, with how many tabs, and who has left", async (t) => {
    const [first, second, bob] = [await tabOf(t, "alice"), await tabOf(t, "alice"), await tabOf(t, "bob")];
    for (const tab of [first, second, bob]) {
      await person(tab, "alice").filter({ hasText: "2 tabs · page-test" }).waitFor();
      await person(tab, "bob").filter({ hasText: "1 tab · page-test" }).waitFor();
    }
    assert.match(await person(bob, "bob").innerText(), /you/);
    assert.doesNotMatch(await person(bob, "alice").innerText(), /you/);

    await second.goto("about:blank");
    await person(bob, "alice").filter({ hasText: "1 tab" }).waitFor();
    await first.goto("about:blank");
    await person(bob, "alice").waitFor({ state: "detached" });
  });

  it("shows the node that it is connected to", async (t) => {
    const tab = await tabOf(t, "alice");
    assert.equal(await tab.locator("#node").innerText(), "page-test");
    assert.match(await tab.locator("#rooms").innerText(), /authenticated, public:lobby, user:alice/);
  });

  it("carries the lobby from alice to bob and to a guest, as text and nothing else", async (t) => {
    const [alice, bob, guest] = [await tabOf(t, "alice"), await tabOf(t, "bob"), await tabOf(t, "")];
    await say(alice, "lobby", "<img src=x onerror=alert(1)> good morning");
    for (const tab of [bob, guest]) {
      assert.match(await line(tab, "lobby", "good morning").innerText(), /alice[\s\S]*<img src=x onerror=alert\(1\)>/);
      assert.equal(await tab.locator("#lobby-log img").count(), 0);
    }
    await say(guest, "lobby", "morning from nobody");
    assert.match(await line(bob, "lobby", "morning from nobody").innerText(), /^guest\b/m);
  });

  it("lets a person pick a name, and their own one", async (t) => {
    const context = await browser.newContext();
    t.after(() => context.close());
    const tab = await context.newPage();
    tab.setDefaultTimeout(DEADLINE);
    await tab.goto(page.url);
    assert.equal(await tab.locator("#board").isVisible(), false, "before, there is nothing to see");
    await tab.getByRole("radio", { name: "bob" }).check({ force: true });
    await person(tab, "bob").waitFor();
    await tab.getByRole("radio", { name: "own name" }).check({ force: true });
    await tab.getByLabel("Your own name").fill("zoe-1");
    await tab.getByRole("button", { name: "Use it" }).click();
    await person(tab, "zoe-1").waitFor();
    assert.equal(await person(tab, "bob").count(), 0);
    const [opened] = await Promise.all([context.waitForEvent("page"), tab.getByRole("link", { name: "Open another tab as zoe-1" }).click()]);
    await person(opened, "zoe-1").filter({ hasText: "2 tabs" }).waitFor();
  });

  it("does not take an event from a shell for another tab, and shows whatever it is", async (t) => {
    const tab = await tabOf(t, "alice");
    const shell = await connectWith(t, server, await token("alice"));
    await ack(shell, "events", { text: "hello from a shell" });
    await ack(shell, "events", { hello: "world" }, 7);
    const shown = await line(tab, "tabs", "hello from a shell").innerText();
    assert.match(shown, /from outside this page/);
    assert.doesNotMatch(shown, /tab/);
    await line(tab, "tabs", '{"hello":"world"} 7').waitFor();
  });

  it("counts as many online as it shows, guests one by one", async (t) => {
    const all = [await tabOf(t, "alice"), await tabOf(t, "alice"), await tabOf(t, "bob"), await tabOf(t, ""), await tabOf(t, "")];
    for (const tab of all) {
      await tab.locator("#online-count", { hasText: /^4$/ }).waitFor();
      assert.equal(await tab.locator("#online li").count(), 4);
      assert.equal(await tab.locator("#online .you").count(), 1);
    }
  });

  const SIZES = { "on a desktop": { viewport: { width: 1280, height: 800 } }, "on a phone": { viewport: { width: 360, height: 740 }, isMobile: true, hasTouch: true } };
  for (const [where, size] of Object.entries(SIZES)) {
    it(`keeps the names where they are when one is picked, ${where}`, async (t) => {
      const context = await browser.newContext(size);
      t.after(() => context.close());
      const tab = await context.newPage();
      tab.setDefaultTimeout(DEADLINE);
      await tab.goto(page.url);
      const place = () => tab.locator(".names").boundingBox();
      const before = await place();
      for (const name of ["own name", "alice", "guest", "own name", "bob"]) {
        await tab.getByRole("radio", { name, exact: true }).check({ force: true });
        if (name !== "own name") await tab.locator("#state[data-state=connected]", { hasText: "page-test" }).waitFor();
        assert.deepEqual(await place(), before, `after ${name}`);
      }
      await tab.getByRole("radio", { name: "own name" }).check({ force: true });
      await tab.getByLabel("Your own name").fill("a-name-of-20-letters");
      await tab.getByRole("button", { name: "Use it" }).click();
      await person(tab, "a-name-of-20-letters").waitFor();
      assert.deepEqual(await place(), before, "after a long name");
    });
  }

  for (const width of [320, 360, 390]) {
    it(`cuts no word on a phone of ${width} pixels`, async (t) => {
      const phone = await tabOf(t, "", { viewport: { width, height: 740 }, isMobile: true, hasTouch: true });
      await phone.getByRole("radio", { name: "own name" }).check({ force: true });
      for (const state of ["Not connected", "Reconnecting, attempt 12 …", "Connection lost, reconnecting …", "No answer, trying again …", "a-node-with-a-name-of-32-letters"]) {
        await phone.evaluate((text) => (document.getElementById("state-text").textContent = text), state);
        const cut = await phone.evaluate(() =>
          [...document.querySelectorAll(".names span, .state > span, button, .button, h2, .who p")]
            .filter((element) => element.checkVisibility() && (element.scrollWidth > element.clientWidth + 1 && element.clientWidth > 0 || element.getBoundingClientRect().right > innerWidth))
            .map((element) => element.textContent));
        assert.deepEqual(cut, [], state);
        const places = await phone.evaluate(() => [...document.querySelectorAll("input[type=text]")].filter((input) => input.checkVisibility()).map((input) => [input.placeholder, input.scrollWidth <= input.clientWidth]));
        assert.deepEqual(places.filter(([, fits]) => !fits), []);
      }
    });
  }

  for (const width of [320, 360, 390]) {
    it(`fits a phone of ${width} pixels`, async (t) => {
      const phone = await tabOf(t, "alice", { viewport: { width, height: 844 }, isMobile: true, hasTouch: true });
      await say(phone, "lobby", "w".repeat(300));
      await line(phone, "lobby", "wwww").waitFor();
      const outside = await phone.evaluate(() =>
        [...document.querySelectorAll("body *")]
          .filter((element) => element.checkVisibility() && element.getBoundingClientRect().right > innerWidth + 0.5)
          .map((element) => element.outerHTML.slice(0, 80)));
      assert.deepEqual(outside, []);
      assert.equal(await phone.evaluate(() => document.documentElement.scrollWidth), width);
    });
  }

  it("hands out tokens for plain names only, and no file beside its own", async () => {
    const status = async (path) => (await fetch(page.url + path)).status;
    assert.equal(await status("token?user=alice"), 200);
    for (const user of ["", "Alice", "a".repeat(21), "user:alice", "%3Cb%3E"]) assert.equal(await status(`token?user=${user}`), 400, user);
    for (const path of ["token.mjs", "package.json", "..%2Fpackage.json", "vendor/../token.mjs", "constructor"]) assert.equal(await status(path), 404, path);
  });

  it("has nothing to complain about in the console", () => {
    assert.deepEqual(complaints, []);
  });
});

describe("the page, on two servers of which one goes", () => {
  it("no longer says that the server is going to stop when it is back", async (t) => {
    const [first, second] = await Promise.all([1, 2].map((n) => serverFor(t, { node_id: `node-${n}`, auth: { hs256_secret: SECRET }, drain: { spread: "0s" } })));
    const pages = await servePage([first.url, second.url], admin);
    t.after(() => pages.process.kill());
    const context = await browser.newContext();
    t.after(() => context.close());
    const tab = await context.newPage();
    tab.setDefaultTimeout(DEADLINE);
    await tab.goto(`${pages.url}?user=alice`);
    await tab.locator("#state[data-state=connected]", { hasText: "node-" }).waitFor();
    const node = await tab.locator("#node").innerText();
    const [here, other] = node === "node-1" ? [first, "node-2"] : [second, "node-1"];
    // Each text that the notices have ever had, in their order.
    await tab.evaluate(() => {
      globalThis.told = [];
      new MutationObserver(() => globalThis.told.push(document.getElementById("notices").innerText)).observe(document.getElementById("notices"), { childList: true });
    });
    here.signal("SIGTERM");
    await tab.locator("#notices", { hasText: `Back again, on node ${other}` }).waitFor({ timeout: 20_000 });
    assert.doesNotMatch(await tab.locator("#notices").innerText(), /going to stop/);
    const told = await tab.evaluate(() => globalThis.told);
    assert.ok(told.some((text) => text.includes("This server is going to stop")), JSON.stringify(told));
  });
});

// Last, and apart from the rest: the browser itself reports each attempt that fails, as it should.
describe("the page, when its server goes", () => {
  it("says that the server drains, and that it is reconnecting", async (t) => {
    const tab = await tabOf(t, "alice");
    server.signal("SIGTERM");
    await tab.locator("#notices", { hasText: "This server is going to stop" }).waitFor();
    await tab.locator("#state[data-state=reconnecting]").waitFor({ timeout: 15_000 });
    await within(15_000, "the server ends", server.exited);
  });
});

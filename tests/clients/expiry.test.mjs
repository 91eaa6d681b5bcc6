// A socket does not outlive its token, unless a newer token of the same user prolongs it.

import assert from "node:assert/strict";
import { describe, it } from "node:test";

import { Inbox, ack, connect, connectWith, disconnected, heard } from "./support/clients.mjs";
import { serverFor, serverForThisFile } from "./support/server.mjs";
import { SECRET, seconds, token } from "./support/tokens.mjs";
import { until } from "./support/waiting.mjs";

const server = await serverForThisFile({ auth: { hs256_secret: SECRET, leeway: "0s" } });
const GRACE = 5_000; // from the expiry to the disconnection

const expiringIn = (user, left) => token(user, { exp: seconds(left) });

describe("a token that is about to expire", { concurrency: true }, () => {
  it("is announced, at once if less than a minute is left", async (t) => {
    const socket = await openWith(t, await expiringIn("alice", 30));
    const [{ seconds: left }] = await socket.expiring;
    assert.ok(left > 20 && left <= 30, `about 30 s are left, the server says ${left}`);
  });

  it("ends its socket for good, after the grace", async (t) => {
    const exp = seconds(2);
    const socket = await openWith(t, await token("alice", { exp }));
    const gone = disconnected(socket, 2_000 + GRACE + 15_000);
    assert.equal(await gone, "io server disconnect", "so the client does not come back by itself");
    const late = Date.now() - (exp * 1_000 + GRACE);
    assert.ok(late > -500 && late < 10_000, `ended ${late} ms after the end of the grace`);
  });

  it("is replaced by a newer one of the same user, and the socket lives on", async (t) => {
    const old = await openWith(t, await expiringIn("alice", 2));
    const witness = await openWith(t, await expiringIn("alice", 3));
    const outlived = disconnected(witness, 3_000 + GRACE + 15_000);
    const answer = await ack(old, "auth:refresh", await token("alice"));
    assert.equal(answer?.error, undefined);
    // The witness had more time than the old token gave, and shows that the server counts.
    assert.equal(await outlived, "io server disconnect");
    assert.ok(old.connected);
    assert.equal((await ack(old, "whoami")).user, "alice");
  });

  it("is not replaced by another user's, nor by one that is not valid", async (t) => {
    const socket = await openWith(t, await expiringIn("alice", 2));
    const gone = disconnected(socket, 2_000 + GRACE + 15_000);
    for (const bad of [await token("bob"), await expiringIn("alice", -60), "garbage", "", 7, undefined]) {
      const answer = await ack(socket, "auth:refresh", bad);
      assert.match(answer.error.code, /^(unauthorized|forbidden|bad_request)$/);
      assert.equal(answer.error.retry, false);
    }
    const me = await ack(socket, "whoami");
    assert.equal(me.user, "alice");
    assert.ok(!me.rooms.includes("user:bob"));
    assert.equal(await gone, "io server disconnect", "the old token still counts");
  });

  it("may be used as long as it lasts, if the server is told not to look again", async (t) => {
    const lenient = await serverFor(t, { auth: { hs256_secret: SECRET, leeway: "0s", revalidate: false } });
    const inbox = new Inbox(await connectWith(t, lenient, await expiringIn("alice", 3)));
    const witness = await openWith(t, await expiringIn("alice", 3));
    assert.equal(await disconnected(witness, 3_000 + GRACE + 15_000), "io server disconnect");
    const other = await connect(t, lenient);
    assert.deepEqual(await inbox.after(other), [], "no notice, and still connected");
  });

  it("of eight seconds is lived through: the notice, a newer one in the grace, and the end", { timeout: 120_000 }, async (t) => {
    const [first, second] = [seconds(8), seconds(20)];
    const socket = await openWith(t, await token("alice", { exp: first }));
    const [{ seconds: left }] = await socket.expiring;
    assert.ok(left >= 6 && left <= 8, `the server says ${left} s`);
    await until("the token has expired", () => Date.now() > first * 1_000 + 1_000, 15_000);
    assert.equal((await ack(socket, "whoami")).user, "alice", "in the grace the socket lives");

    const again = heard(socket, "auth:expiring");
    assert.deepEqual(await ack(socket, "auth:refresh", await token("alice", { exp: second })), { ok: true });
    const [{ seconds: anew }] = await again;
    assert.ok(anew > left, `the server says ${anew} s`);
    await until("the first grace is over", () => Date.now() > first * 1_000 + GRACE + 1_000, 15_000);
    assert.equal((await ack(socket, "whoami")).user, "alice", "by the newer token");

    assert.equal(await disconnected(socket, 20_000), "io server disconnect");
    const late = Date.now() - (second * 1_000 + GRACE);
    assert.ok(late > -500 && late < 10_000, `ended ${late} ms after the end of the grace`);
    t.diagnostic(`told of ${left} s and then of ${anew} s, ended ${late} ms after the second grace`);
  });

  it("is nothing that a guest hears of", async (t) => {
    const guest = await connect(t, server);
    const inbox = new Inbox(guest);
    const alice = await openWith(t, await expiringIn("alice", 30));
    await alice.expiring;
    assert.deepEqual(await inbox.after(alice), []);
  });
});

/** Connects with the token, listening for the notice from the first moment on. */
async function openWith(t, bearer) {
  let expiring;
  const socket = await connectWith(t, server, bearer, { onOpen: (opening) => (expiring = heard(opening, "auth:expiring")) });
  // A test that does not look at the notice is not failed by its absence.
  expiring.catch(() => {});
  return Object.assign(socket, { expiring });
}

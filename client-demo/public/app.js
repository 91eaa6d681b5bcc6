// The page's client: connects as whoever was picked, and shows what this tab hears.

import { Letters, device, newDevice } from "./letters.js";
import { ANNOUNCE_EVERY_MS, Presence } from "./presence.js";
import { $, ORIGINS, avatar, element, line, notice, textOf } from "./view.js";

const LOBBY = "public:lobby";
const ANSWER_MS = 5_000;

const tab = crypto.randomUUID();
const presence = new Presence();

let socket; // of the name that is picked now
let user; // null for a guest, undefined while nobody is picked
let node;
let shownOnline; // what the list of people says now
let letters; // those that were left for the user, and those that the user leaves

const { servers } = await fetch("/config.json").then((response) => response.json());
let server = Math.floor(Math.random() * servers.length);

wire();
const picked = new URLSearchParams(location.search).get("user");
if (picked !== null) {
  history.replaceState(null, "", addressOf(picked, device));
  become(picked === "" ? null : picked);
}

// ---------------------------------------------------------------- connection

/** Connects anew, as this user (null: a guest). */
function become(name) {
  socket?.disconnect();
  user = name;
  node = undefined;
  presence.clear();
  letters = new Letters(name, token);
  for (const log of ["tabs-log", "lobby-log", "notices"]) $(log).replaceChildren();
  showName();
  letters.show();
  show("connecting", "Connecting …");

  const mine = window.io(servers[server], {
    forceNew: true,
    // The page comes from another origin than the server. A websocket may cross origins, polling needs
    // CORS headers, which a server sends only if `engine.cors_origins` names the page.
    transports: ["websocket"],
    // Called for each attempt, so that a late reconnection does not bring a token that has expired.
    auth: (payload) => token().then((token) => payload(token ? { token, device, inbox: true } : {}), (error) => notice(`No token: ${error.message}`, "bad")),
  });
  socket = mine;

  // A socket that was left for another name may still have something to say; nobody listens.
  const on = (emitter, event, handler) => emitter.on(event, (...args) => socket === mine && handler(...args));
  on(mine, "connect", arrived);
  on(mine, "disconnect", lost);
  on(mine, "connect_error", refused);
  on(mine.io, "reconnect_attempt", (attempt) => show("reconnecting", `Reconnecting, attempt ${attempt} …`));
  on(mine, "events", heardEvents);
  on(mine, "message", heardLobby);
  on(mine, "hello", (said) => (heardHere(said), announce("here")));
  on(mine, "here", heardHere);
  on(mine, "bye", (said) => (presence.bye(said?.from ?? null, said?.data), showOnline()));
  on(mine, "server:draining", draining);
  on(mine, "auth:expiring", expiring);
  mine.onAny((...args) => socket === mine && letters.receive(...args));
}

async function token() {
  if (user === null) return undefined;
  const response = await fetch(`/token?user=${encodeURIComponent(user)}`);
  const answer = await response.json();
  if (!response.ok) throw new Error(answer.error);
  return answer.token;
}

async function arrived() {
  const mine = socket;
  const back = node !== undefined;
  show("connected", "Connected");
  try {
    const joined = await ask("join", LOBBY);
    if (joined?.error) throw new Error(joined.error.message);
    const me = await ask("whoami");
    if (socket !== mine || !mine.connected) return;
    node = me.node;
    show("connected", element("span", { className: "prefix", text: "Connected to " }), node);
    showLink(me);
    if (back) notice(`Back again, on node ${node}.`, "good", "connection");
    presence.clear(); // what was heard before the gap may be long past
    announce("hello");
  } catch (error) {
    if (socket === mine && mine.connected) notice(`The server did not let us into the lobby: ${error.message}`, "bad");
  }
}

function lost(reason) {
  presence.clear();
  showOnline();
  if (socket.active) show("reconnecting", "Connection lost, reconnecting …");
  else ended(reason === "io server disconnect" ? "The server has ended this connection." : "Disconnected.");
}

function refused(error) {
  if (!socket.active) return ended(error.data?.message ? `Refused: ${error.data.message}.` : `Refused: ${error.message}.`);
  show("reconnecting", "No answer, trying again …");
  // The next attempt goes to the next server, as behind a load balancer.
  server = (server + 1) % servers.length;
  socket.io.uri = servers[server];
}

function ended(sentence) {
  show("ended", "Not connected");
  notice(sentence, "bad", "connection");
  $("again").hidden = false;
}

function draining({ seconds } = {}) {
  notice(`This server is going to stop (within ${Number(seconds) || "some"} s). You will be connected to another one.`, "warn", "connection");
}

async function expiring({ seconds } = {}) {
  const mine = socket;
  notice(`Your token expires in ${Number(seconds) || 0} s. Asking for a new one …`, "warn", "token");
  try {
    const fresh = await token();
    const answer = await mine.timeout(ANSWER_MS).emitWithAck("auth:refresh", fresh);
    if (socket !== mine) return;
    if (answer?.error) notice(`The new token was refused: ${answer.error.message}`, "bad", "token");
    else notice("Your token has been renewed.", "good", "token");
  } catch (error) {
    if (socket === mine) notice(`No new token: ${error.message}`, "bad", "token");
  }
}

function ask(event, ...args) {
  return socket.timeout(ANSWER_MS).emitWithAck(event, ...args);
}

// ---------------------------------------------------------------- what is said and heard

// The tabs of this page put their id into what they send. Whatever has none was sent by somebody else:
// a shell, the API, another program of this user.
function heardEvents(...said) {
  const from = said[0]?.tab;
  const origin = from === tab ? "own" : typeof from === "string" ? "other" : "outside";
  line("tabs-log", { text: textOf(...said), label: ORIGINS[origin], name: user, origin });
}

function heardLobby(said) {
  const from = said?.from ?? null;
  line("lobby-log", { text: textOf(said?.data), label: from ?? "guest", name: from, origin: from !== null && from === user ? "own" : "other" });
}

function heardHere(said) {
  presence.here(said?.from ?? null, said?.data ?? {}, Date.now());
  showOnline();
}

/** Tells the lobby about this tab. The server does not send it back to us, so we note it ourselves. */
function announce(event) {
  if (!socket?.connected || node === undefined) return;
  socket.emit("publish", { room: LOBBY, event, data: { tab, node } });
  heardHere({ from: user, data: { tab, node } });
}

async function say(form, field, send) {
  const text = field.value.trim();
  if (!text) return;
  if (!socket?.connected) return notice("Not connected right now. Your words are still in the field.", "warn");
  const button = form.querySelector("button");
  button.disabled = true;
  try {
    const answer = await send(text);
    if (answer?.error) throw new Error(answer.error.message);
    field.value = "";
  } catch (error) {
    notice(`Not sent: ${error.message}`, "bad");
  } finally {
    button.disabled = false;
    field.focus();
  }
}

// ---------------------------------------------------------------- what is shown

function wire() {
  const choose = (name) => {
    history.replaceState(null, "", addressOf(name, device));
    become(name);
  };
  for (const radio of document.querySelectorAll("[name=user]")) {
    radio.addEventListener("change", () => {
      $("own").hidden = radio.value !== "own";
      if (radio.value === "own") $("own-name").focus();
      else choose(radio.value || null);
    });
  }
  $("who").addEventListener("submit", (event) => {
    event.preventDefault();
    if ($("own-name").value) choose($("own-name").value);
  });
  $("tabs-form").addEventListener("submit", (event) => {
    event.preventDefault();
    say(event.target, $("tabs-text"), (text) => ask("events", { text, tab }));
  });
  $("lobby-form").addEventListener("submit", (event) => {
    event.preventDefault();
    say(event.target, $("lobby-text"), async (text) => {
      const answer = await ask("publish", { room: LOBBY, data: { text } });
      // A publish goes to the others; one's own words are shown when the server has taken them.
      if (answer?.ok) line("lobby-log", { text, label: "you", name: user, origin: "own" });
      return answer;
    });
  });
  $("letter-form").addEventListener("submit", (event) => {
    event.preventDefault();
    letters.leave();
  });
  addEventListener("storage", ({ key }) => letters?.changedElsewhere(key));
  $("again").addEventListener("click", () => become(user));

  setInterval(() => announce("here"), ANNOUNCE_EVERY_MS);
  setInterval(() => {
    presence.expire(Date.now());
    showOnline();
  }, 1_000);
  addEventListener("pagehide", () => {
    announce("bye");
    socket?.disconnect();
  });
  // The browser may keep a left page and bring it back as it was.
  addEventListener("pageshow", (event) => event.persisted && user !== undefined && become(user));
}

function show(state, ...text) {
  $("state").dataset.state = state;
  $("state-text").replaceChildren(...text);
  if (state !== "ended") $("again").hidden = true;
}

function showName() {
  const known = [...document.querySelectorAll("[name=user]")].find(({ value }) => value === (user ?? ""));
  const radio = known ?? document.querySelector("[name=user][value=own]");
  radio.checked = true;
  $("own").hidden = known !== undefined;
  if (!known) $("own-name").value = user;
  document.title = `${user ?? "guest"} · Switchboard demo`;
  $("who-title").textContent = user === null ? "You are a guest" : `You are ${user}`;
  $("hint").textContent = user === null
    ? "Nobody knows who you are, so no other tab is yours. Pick a name to see the difference."
    : "Open a second tab with the same name: what the server replies to one tab reaches the other, too.";
  $("another").hidden = false;
  $("another").href = addressOf(user, device);
  $("another").textContent = `Open another tab as ${user ?? "guest"}`;
  $("board").hidden = false;
  $("steps").hidden = true;
  $("tabs-hint").textContent = user === null
    ? "The server sends this back to you. As a guest you have no other tabs."
    : "The server sends this back to you, and to your other tabs. To nobody else.";
  $("another-device").href = addressOf(user, newDevice());
  $("tabs-log").dataset.empty = user === null ? "Say something, and see it come back." : "Say something; then look at your other tab.";
  showOnline();
}

/** The page of a user on a device. A tab keeps its device in its address: the browser knows only the latest one. */
function addressOf(name, device) {
  return `?${new URLSearchParams({ user: name ?? "", device })}`;
}

function showLink(me) {
  $("node").textContent = me.node;
  $("server").textContent = new URL(servers[server]).host;
  $("transport").textContent = socket.io.engine.transport.name;
  $("socket").textContent = me.socket;
  $("rooms").textContent = me.rooms.filter((room) => room !== me.socket).sort().join(", ") || "–";
}

function showOnline() {
  const people = presence.people();
  // Each second asks; only a change is drawn, so that a selection or a reader is not disturbed.
  const signature = JSON.stringify([user, tab, people]);
  if (signature === shownOnline) return;
  shownOnline = signature;
  $("online-count").textContent = people.length ? String(people.length) : "";
  $("online").replaceChildren(...people.map((person) => {
    const item = element("li", { data: { user: person.user ?? "" } });
    const title = element("span", { className: "name", text: person.user ?? "guest" });
    // One guest is like another: only this tab knows which of them it is.
    const isUs = person.user === null ? person.tab === tab : person.user === user;
    if (isUs) title.append(element("span", { className: "you", text: "you" }));
    const count = `${person.tabs} ${person.tabs === 1 ? "tab" : "tabs"}`;
    const about = `${count} · ${person.nodes.join(", ")}`;
    item.append(avatar(person.user), element("span", { className: "about" }, title, element("small", { text: about })));
    return item;
  }));
}

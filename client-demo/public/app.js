// The page's client: connects as whoever was picked, and shows what this tab hears.

import { ANNOUNCE_EVERY_MS, Presence } from "./presence.js";

const LOBBY = "public:lobby";
const ANSWER_MS = 5_000;
const MAX_LINES = 200;

const $ = (id) => document.getElementById(id);
const tab = crypto.randomUUID();
const presence = new Presence();

let socket; // of the name that is picked now
let user; // null for a guest, undefined while nobody is picked
let node;
let shownOnline; // what the list of people says now

const { servers } = await fetch("/config.json").then((response) => response.json());
let server = Math.floor(Math.random() * servers.length);

wire();
const picked = new URLSearchParams(location.search).get("user");
if (picked !== null) become(picked === "" ? null : picked);

// ---------------------------------------------------------------- connection

/** Connects anew, as this user (null: a guest). */
function become(name) {
  socket?.disconnect();
  user = name;
  node = undefined;
  presence.clear();
  for (const log of ["tabs-log", "lobby-log", "notices"]) $(log).replaceChildren();
  showName();
  show("connecting", "Connecting …");

  const mine = window.io(servers[server], {
    forceNew: true,
    // The page comes from another origin than the server. A websocket may cross origins, polling needs
    // CORS headers, which a server sends only if `engine.cors_origins` names the page.
    transports: ["websocket"],
    // Called for each attempt, so that a late reconnection does not bring a token that has expired.
    auth: (payload) => token().then((token) => payload(token ? { token } : {}), (error) => notice(`No token: ${error.message}`, "bad")),
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
const ORIGINS = {
  own: "from this tab",
  other: "from your other tab",
  outside: "from outside this page",
};

function heardEvents(...said) {
  const from = said[0]?.tab;
  const origin = from === tab ? "own" : typeof from === "string" ? "other" : "outside";
  line("tabs-log", { text: textOf(...said), label: ORIGINS[origin], name: user, origin });
}

function heardLobby(said) {
  const from = said?.from ?? null;
  line("lobby-log", { text: textOf(said?.data), label: from ?? "guest", name: from, origin: from !== null && from === user ? "own" : "other" });
}

/** What this page sends has a text; anything else is shown as it is. */
function textOf(...said) {
  if (typeof said[0]?.text === "string") return said[0].text;
  return said.map((part) => (typeof part === "string" ? part : part instanceof ArrayBuffer ? `${part.byteLength} bytes` : JSON.stringify(part) ?? "nothing")).join(" ");
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
    history.replaceState(null, "", `?${new URLSearchParams({ user: name ?? "" })}`);
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
  $("another").href = `?${new URLSearchParams({ user: user ?? "" })}`;
  $("another").textContent = `Open another tab as ${user ?? "guest"}`;
  $("board").hidden = false;
  $("steps").hidden = true;
  $("tabs-hint").textContent = user === null
    ? "The server sends this back to you. As a guest you have no other tabs."
    : "The server sends this back to you, and to your other tabs. To nobody else.";
  $("tabs-log").dataset.empty = user === null ? "Say something, and see it come back." : "Say something; then look at your other tab.";
  showOnline();
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

/** Adds a line to a log, and keeps the end in view if it was. */
function line(id, { text, label, name, origin }) {
  const log = $(id);
  const atEnd = log.scrollHeight - log.scrollTop - log.clientHeight < 40;
  const time = new Date();
  const head = element("span", { className: "head" }, element("b", { text: label }), element("time", { text: time.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" }) }));
  log.append(element("li", { data: { origin } }, avatar(name, origin === "outside"), element("div", { className: "bubble" }, head, element("p", { text: text.slice(0, 500) }))));
  while (log.children.length > MAX_LINES) log.firstChild.remove();
  if (atEnd) log.scrollTop = log.scrollHeight;
}

/** Tells something. Of two notices about the same thing only the newer one is still true. */
function notice(text, kind, about) {
  if (about) for (const old of document.querySelectorAll(`.notice[data-about="${about}"]`)) old.remove();
  const box = element("p", { className: "notice", data: about ? { kind, about } : { kind }, text });
  const close = element("button", { className: "close", text: "×" });
  close.type = "button";
  close.setAttribute("aria-label", "Dismiss");
  close.addEventListener("click", () => box.remove());
  box.append(close);
  $("notices").append(box);
  while ($("notices").children.length > 3) $("notices").firstChild.remove();
  if (kind === "good") setTimeout(() => box.remove(), 6_000);
}

function avatar(name, fromOutside = false) {
  const circle = element("span", { className: "avatar", text: fromOutside ? ">_" : name === null ? "?" : name[0].toUpperCase() });
  circle.setAttribute("aria-hidden", "true");
  // The same name has the same colour everywhere; a guest has none.
  if (name !== null && !fromOutside) circle.style.setProperty("--hue", String([...name].reduce((sum, letter) => (sum * 31 + letter.codePointAt(0)) % 360, 7)));
  else circle.classList.add("nobody");
  return circle;
}

/** An element whose text is only ever text, whoever wrote it. */
function element(tagName, { className = "", text, data = {} } = {}, ...children) {
  const made = document.createElement(tagName);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  Object.assign(made.dataset, data);
  made.append(...children);
  return made;
}

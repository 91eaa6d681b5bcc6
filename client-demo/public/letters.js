// Messages that wait for their user: those that this device gets, each once, and leaving one for somebody.

import { Handled, once } from "./inbox.js";
import { $, ORIGINS, line, notice, textOf } from "./view.js";

/** The name of this device: of the address, or as it was called last time, or a new one. It is kept in this browser. */
export const device = chooseDevice();

export function newDevice() {
  return `device-${crypto.randomUUID().slice(0, 4)}`;
}

function chooseDevice() {
  const valid = (name) => (/^[a-z0-9-]{1,20}$/.test(name ?? "") ? name : undefined);
  const named = new URLSearchParams(location.search).get("device");
  const chosen = valid(named) ?? valid(localStorage.getItem("device")) ?? newDevice();
  localStorage.setItem("device", chosen);
  return chosen;
}

/** The messages of a user, who is null for a guest. `token` gets one that says who this is. */
export class Letters {
  #user;
  #token;
  #handled; // none for a guest
  #draft = {};

  constructor(user, token) {
    this.#user = user;
    this.#token = token;
    if (user === null) return;
    this.#handled = new Handled(localStorage, this.#key, summary);
    this.receive = once(this.#handled, showOne);
  }

  get #key() {
    return `letters:${this.#user}:${device}`;
  }

  /** Takes an event of the socket. A guest is sent no messages. */
  receive() {}

  /** Another tab of this device may have got something. */
  changedElsewhere(key) {
    if (this.#handled && key === this.#key) this.#showAll();
  }

  show() {
    $("letter-guest").hidden = this.#user !== null;
    $("device-hint").hidden = this.#user === null;
    $("device").textContent = device;
    $("letter-log").hidden = this.#user === null;
    $("letter-to").value = this.#user === "bob" ? "alice" : "bob";
    $("letter-sent").textContent = "";
    this.#showAll();
    showMissing();
  }

  #showAll() {
    $("letter-log").replaceChildren();
    this.#handled?.messages.forEach(showOne);
  }

  /** Leaves what stands in the form. The same words have the same id until they are kept, so that trying again leaves one message. */
  async leave() {
    const [to, text] = [$("letter-to").value, $("letter-text").value.trim()];
    if (!text) return;
    if (this.#draft.to !== to || this.#draft.text !== text) this.#draft = { to, text, id: crypto.randomUUID() };
    const button = $("letter-form").querySelector("button");
    button.disabled = true;
    $("letter-sent").textContent = "";
    try {
      const body = JSON.stringify({ ...this.#draft, token: await this.#token() });
      const response = await fetch("/letters", { method: "POST", body });
      const answer = await response.json();
      if (!response.ok) throw new Error(answer.error);
      this.#draft = {};
      $("letter-text").value = "";
      $("letter-sent").textContent = `Kept for ${to} as message ${answer.seq}, until all devices of ${to} have it.`;
    } catch (error) {
      notice(`Perhaps not kept, try again: ${error.message}`, "bad", "letter");
      showMissing();
    } finally {
      button.disabled = false;
      $("letter-text").focus();
    }
  }
}

/** What is remembered of a message: those of this page say from whom they are, others are shown as they are. */
function summary(event, args) {
  const { from, text, id, at } = Object(args[0]);
  const isLetter = event === "letter" && (from === null || typeof from === "string") && typeof text === "string";
  if (!isLetter) return { text: `${event} ${textOf(...args)}`.slice(0, 500) };
  return { from: from?.slice(0, 20) || null, text: text.slice(0, 500), id: String(id).slice(0, 40), at: Number(at) || null };
}

function showOne({ message: { from, text, at } }) {
  const isOurs = from !== undefined;
  line("letter-log", { text, label: isOurs ? from ?? "guest" : ORIGINS.outside, name: from ?? null, origin: isOurs ? "other" : "outside", at });
}

/** Says what the server lacks, if no messages can be left. */
async function showMissing() {
  const nobody = { missing: "The server of this page does not answer." };
  const { missing } = await fetch("/letters").then((response) => response.json()).catch(() => nobody);
  $("letter-missing").hidden = missing === null;
  $("letter-missing").textContent = missing ?? "";
}

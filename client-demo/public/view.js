// What the page is made of: lines in logs, notices, elements. Whatever others have written is only ever text.

const MAX_LINES = 200;

export const $ = (id) => document.getElementById(id);

/** From where a line comes. */
export const ORIGINS = {
  own: "from this tab",
  other: "from your other tab",
  outside: "from outside this page",
};

/** What this page sends has a text; anything else is shown as it is. */
export function textOf(...said) {
  if (typeof said[0]?.text === "string") return said[0].text;
  return said.map((part) => (typeof part === "string" ? part : part instanceof ArrayBuffer ? `${part.byteLength} bytes` : JSON.stringify(part) ?? "nothing")).join(" ");
}

/** Adds a line to a log, and keeps the end in view if it was. */
export function line(id, { text, label, name, origin, at }) {
  const log = $(id);
  const atEnd = log.scrollHeight - log.scrollTop - log.clientHeight < 40;
  const head = element("span", { className: "head" }, element("b", { text: label }), element("time", { text: clock(new Date(at ?? Date.now())) }));
  log.append(element("li", { data: { origin } }, avatar(name, origin === "outside"), element("div", { className: "bubble" }, head, element("p", { text: text.slice(0, 500) }))));
  while (log.children.length > MAX_LINES) log.firstChild.remove();
  if (atEnd) log.scrollTop = log.scrollHeight;
}

/** The time of the day; with the day, if it is another one. */
function clock(time) {
  const isToday = time.toDateString() === new Date().toDateString();
  return time.toLocaleString([], { ...(!isToday && { day: "numeric", month: "short" }), hour: "2-digit", minute: "2-digit" });
}

/** Tells something. Of two notices about the same thing only the newer one is still true. */
export function notice(text, kind, about) {
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

export function avatar(name, fromOutside = false) {
  const circle = element("span", { className: "avatar", text: fromOutside ? ">_" : name === null ? "?" : name[0].toUpperCase() });
  circle.setAttribute("aria-hidden", "true");
  // The same name has the same colour everywhere; a guest has none.
  if (name !== null && !fromOutside) circle.style.setProperty("--hue", String([...name].reduce((sum, letter) => (sum * 31 + letter.codePointAt(0)) % 360, 7)));
  else circle.classList.add("nobody");
  return circle;
}

/** An element whose text is only ever text, whoever wrote it. */
export function element(tagName, { className = "", text, data = {} } = {}, ...children) {
  const made = document.createElement(tagName);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  Object.assign(made.dataset, data);
  made.append(...children);
  return made;
}

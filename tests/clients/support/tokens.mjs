// Tokens as an application would make them, and as an attacker would.

import { SignJWT } from "jose";

export const SECRET = "a secret of thirty-two bytes or so, for tests";
export const seconds = (fromNow) => Math.floor(Date.now() / 1000) + fromNow;

/** A token of `user`; `claims` are added, an undefined one takes a default away. */
export function token(user, claims = {}, { secret = SECRET, key, alg = "HS256", kid } = {}) {
  const payload = JSON.parse(JSON.stringify({ sub: user, exp: seconds(3600), ...claims }));
  const header = kid ? { alg, kid } : { alg };
  return new SignJWT(payload).setProtectedHeader(header).sign(key ?? new TextEncoder().encode(secret));
}

/** A token that nobody has signed (alg "none"), which the library rightly refuses to make. */
export function unsigned(user) {
  const part = (value) => Buffer.from(JSON.stringify(value)).toString("base64url");
  return `${part({ alg: "none", typ: "JWT" })}.${part({ sub: user, exp: seconds(3600) })}.`;
}

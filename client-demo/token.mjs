// Tokens of the demo's people. An application makes such a token after its own login.

import { SignJWT, jwtVerify } from "jose";

/** What `switchboard --dev` signs with. Everybody knows it, so it protects nothing. */
export const DEV_SECRET = "switchboard-development-secret-do-not-use-in-production";

/** A token of `user` that the server accepts if it has the same secret, for one hour. */
export function demoToken(user, secret = DEV_SECRET) {
  return new SignJWT({})
    .setProtectedHeader({ alg: "HS256" })
    .setSubject(user)
    .setExpirationTime("1h")
    .sign(new TextEncoder().encode(secret));
}

/** The user whom a token names; undefined if it is not one of ours. */
export async function userOf(token, secret = DEV_SECRET) {
  try {
    const { payload } = await jwtVerify(token, new TextEncoder().encode(secret), { algorithms: ["HS256"] });
    return payload.sub;
  } catch {
    return undefined;
  }
}

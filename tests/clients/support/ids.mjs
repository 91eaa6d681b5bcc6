// What a public id looks like, written down once more from the contract: the last four characters of
// our ids follow from the first sixteen, so that ours can be told from names and from Node.js's ids.

import { createHash } from "node:crypto";

const FNV_OFFSET = 0xcbf29ce484222325n;
const FNV_PRIME = 0x100000001b3n;

/** Whether the text is the id of a socket of a Switchboard node. */
export function isOurId(text) {
  if (!/^[\w-]{20}$/.test(text)) return false;
  const bytes = Buffer.from(text, "base64url");
  let hash = FNV_OFFSET;
  for (const byte of bytes.subarray(0, 12)) hash = BigInt.asUintN(64, (hash ^ BigInt(byte)) * FNV_PRIME);
  const folded = Number((hash ^ (hash >> 24n) ^ (hash >> 48n)) & 0xffffffn);
  return bytes.readUIntLE(12, 3) === folded;
}

/** How the Admin UI names the client of a socket: by a hash, which its connection cannot be told from. */
export function clientIdOf(socket) {
  const connection = socket.io.engine.id.split(".").pop().slice(0, 16);
  return createHash("sha256").update("switchboard socket id\0").update(connection).digest().subarray(0, 12).toString("base64url").slice(0, 12);
}

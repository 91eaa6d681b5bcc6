// A websocket without a library: the test writes the bytes, and reads only if it wants to.

import { once } from "node:events";
import { connect } from "node:net";

import { DEADLINE, within } from "./waiting.mjs";

const KEY = "dGhlIHNhbXBsZSBub25jZQ==";

/** A frame as a client sends it, masked with the key 0, which leaves the payload as it is. */
export function frame(opcode, payload, { fin = true } = {}) {
  const bytes = Buffer.from(payload);
  const first = (fin ? 0x80 : 0) | opcode;
  if (bytes.length < 126) return Buffer.concat([Buffer.from([first, 0x80 | bytes.length, 0, 0, 0, 0]), bytes]);
  const header = Buffer.alloc(bytes.length < 65_536 ? 8 : 14);
  header[0] = first;
  header[1] = 0x80 | (bytes.length < 65_536 ? 126 : 127);
  if (bytes.length < 65_536) header.writeUInt16BE(bytes.length, 2);
  else header.writeBigUInt64BE(BigInt(bytes.length), 2);
  return Buffer.concat([header, bytes]);
}

export const TEXT = 1;
export const PING = 9;

/** One TCP connection on which a websocket was opened. */
export class TcpSocket {
  closed = false;
  received = Buffer.alloc(0);

  /** Connects and takes the handshake; with `joins` to the namespace `/` as well. */
  static async open(t, server, { joins = true, query = "EIO=4&transport=websocket" } = {}) {
    const raw = new TcpSocket();
    raw.tcp = connect(server.port, "127.0.0.1");
    t?.after(() => raw.tcp.destroy());
    raw.tcp.on("error", () => {}); // followed by "close"
    raw.tcp.on("close", () => (raw.closed = true));
    raw.tcp.on("data", (bytes) => (raw.received = Buffer.concat([raw.received, bytes])));
    await within(DEADLINE, "the connection is there", once(raw.tcp, "connect"));
    raw.tcp.write(`GET /socket.io/?${query} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: ${KEY}\r\n\r\n`);
    await raw.hears('0{"sid"');
    if (joins) {
      raw.tcp.write(frame(TEXT, "40"));
      await raw.hears("40{");
    }
    return raw;
  }

  /** Waits until this text has come. */
  async hears(text, deadline = DEADLINE) {
    await within(deadline, `${text} comes`, new Promise((resolve, reject) => {
      const look = () => this.received.includes(text) && resolve();
      this.tcp.on("data", look);
      this.tcp.once("close", () => reject(new Error(`closed before ${text} came`)));
      look();
    }));
  }

  /** Reads no more: what the server sends stays in the buffers between, and then with the server. */
  turnDeaf() {
    this.tcp.pause();
  }

  /** Writes as much as the other side takes, again and again the same bytes, until told to stop. */
  async floodWith(bytes, until) {
    let written = 0;
    while (!this.closed && !until()) {
      written += bytes.length;
      if (!this.tcp.write(bytes)) {
        // A full pipe is waited for in small steps: it may never drain.
        await Promise.race([once(this.tcp, "drain").catch(() => {}), new Promise((done) => setTimeout(done, 50))]);
      }
      if (this.tcp.writableLength > 4_000_000) await new Promise((done) => setTimeout(done, 20));
      while (this.tcp.writableLength > 4_000_000 && !this.closed && !until()) await new Promise((done) => setTimeout(done, 20));
    }
    return written;
  }
}

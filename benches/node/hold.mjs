#!/usr/bin/env node
// Clients that connect by websocket and say nothing more: `hold.mjs PORT COUNT`. Prints a line when all are
// in their namespace, answers heartbeats, and stays until its input ends. Its own code in place of a
// library: a client costs as little as it can.
import { connect } from "node:net";
import { createInterface } from "node:readline";

const [port, count] = process.argv.slice(2).map(Number);
const AT_ONCE = 128;
const HANDSHAKE = [
  "GET /socket.io/?EIO=4&transport=websocket HTTP/1.1",
  "Host: localhost",
  "Upgrade: websocket",
  "Connection: Upgrade",
  "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
  "Sec-WebSocket-Version: 13",
  "\r\n",
].join("\r\n");

// A short text message, masked with nothing.
const message = (text) => Buffer.from([0x81, 0x80 | text.length, 0, 0, 0, 0, ...Buffer.from(text)]);

let begun = 0;
let ready = 0;

function begin() {
  if (begun === count) return;
  const number = begun++;
  const socket = connect(port, "127.0.0.1", () => socket.write(HANDSHAKE));
  socket.on("error", (error) => {
    console.error(`client ${number}: ${error.message}`);
    process.exit(1);
  });
  // What comes is short, and one packet after the other.
  socket.on("data", (data) => {
    const text = data.toString("latin1");
    if (text.includes('0{"sid"') && !text.includes('40{"sid"')) {
      socket.write(message(`40{"userId":"u${number}"}`));
    } else if (text.includes('40{"sid"')) {
      ready += 1;
      if (ready === count) console.log("all are here");
      begin();
    } else if (text.endsWith("2")) {
      socket.write(message("3"));
    }
  });
}

for (let client = 0; client < Math.min(AT_ONCE, count); client++) begin();
createInterface({ input: process.stdin }).on("close", () => process.exit(0));

// Serves the demo's web page, the client library for it, and tokens for whoever asks. For a look at
// Switchboard on one's own machine only: an application hands out tokens after a login.

import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import { extname, join } from "node:path";
import { parseArgs } from "node:util";

import { DEV_SECRET, demoToken } from "./token.mjs";

const HELP = `Usage: node page.mjs [--port 8080] [--server URL]… [--secret SECRET]

Serves a page on 127.0.0.1 on which one opens tabs and sees who hears what.

  --port PORT      default 8080; 0 takes a free one
  --server URL     a Switchboard server, may be repeated; default http://localhost:3000
  --secret SECRET  signs the tokens (HS256). Default: SWITCHBOARD_SECRET, or the well-known secret of
                   \`switchboard --dev\``;

const options = readOptions();

const FILES = {
  "/": "public/index.html",
  "/app.js": "public/app.js",
  "/presence.js": "public/presence.js",
  "/style.css": "public/style.css",
  "/icon.svg": "public/icon.svg",
  "/vendor/socket.io.min.js": "node_modules/socket.io-client/dist/socket.io.min.js",
};
const TYPES = {
  ".html": "text/html; charset=utf-8",
  ".js": "text/javascript; charset=utf-8",
  ".css": "text/css; charset=utf-8",
  ".svg": "image/svg+xml",
};

// What others write is shown as text only; should that ever fail, this still keeps scripts out.
const connectable = options.servers.flatMap((url) => [url, url.replace(/^http/, "ws")]).map((url) => new URL(url).origin);
const HEADERS = {
  "content-security-policy": [
    "default-src 'none'",
    "script-src 'self'",
    "style-src 'self'",
    "img-src 'self'",
    `connect-src 'self' ${connectable.join(" ")}`,
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
  ].join("; "),
  "x-content-type-options": "nosniff",
  "referrer-policy": "no-referrer",
  "cache-control": "no-cache",
};

const server = createServer((request, response) => {
  answer(request).then(
    ({ status = 200, type, body }) => response.writeHead(status, { ...HEADERS, "content-type": type }).end(request.method === "HEAD" ? undefined : body),
    (error) => {
      console.error(error);
      response.writeHead(500, HEADERS).end();
    },
  );
});

server.on("error", (error) => {
  console.error(error.message);
  process.exit(1);
});
server.listen(options.port, "127.0.0.1", () => {
  console.log(`Switchboard demo page: http://127.0.0.1:${server.address().port}/  (servers: ${options.servers.join(", ")})`);
});

async function answer({ method, url }) {
  if (method !== "GET" && method !== "HEAD") return json({ error: "GET only" }, 405);
  const { pathname, searchParams } = new URL(url, "http://page");
  // A list of names, not a folder: no path in a request can lead out of it.
  if (Object.hasOwn(FILES, pathname)) {
    const file = FILES[pathname];
    return { type: TYPES[extname(file)], body: await readFile(join(import.meta.dirname, file)) };
  }
  if (pathname === "/config.json") return json({ servers: options.servers });
  if (pathname === "/token") {
    const user = searchParams.get("user") ?? "";
    if (!/^[a-z0-9-]{1,20}$/.test(user)) return json({ error: "user: 1 to 20 of a-z, 0-9 and -" }, 400);
    return json({ token: await demoToken(user, options.secret) });
  }
  return json({ error: "not found" }, 404);
}

function json(value, status = 200) {
  return { status, type: "application/json", body: JSON.stringify(value) };
}

function readOptions() {
  try {
    const { values } = parseArgs({
      options: {
        port: { type: "string", default: "8080" },
        server: { type: "string", multiple: true, default: ["http://localhost:3000"] },
        secret: { type: "string", default: process.env.SWITCHBOARD_SECRET ?? DEV_SECRET },
        help: { type: "boolean", short: "h" },
      },
    });
    if (values.help) {
      console.log(HELP);
      process.exit(0);
    }
    for (const url of values.server) if (!URL.canParse(url) || !/^https?:/.test(url)) throw new Error(`${url} is no http URL`);
    if (!/^\d{1,5}$/.test(values.port) || values.port > 65_535) throw new Error(`${values.port} is no port`);
    return { port: Number(values.port), servers: values.server, secret: values.secret };
  } catch (error) {
    console.error(`${error.message}\n\n${HELP}`);
    process.exit(2);
  }
}

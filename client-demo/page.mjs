// Serves the demo's web page, the client library for it, and tokens for whoever asks. For a look at
// Switchboard on one's own machine only: an application hands out tokens after a login.

import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import { extname, join } from "node:path";
import { parseArgs } from "node:util";

import { BackEnd } from "./backend.mjs";
import { DEV_SECRET, demoToken, userOf } from "./token.mjs";

const HELP = `Usage: node page.mjs [--port 8080] [--server URL]… [--admin URL] [--secret SECRET]

Serves a page on 127.0.0.1 on which one opens tabs and sees who hears what.

  --port PORT      default 8080; 0 takes a free one
  --server URL     a Switchboard server, may be repeated; default http://localhost:3000
  --admin URL      the admin port of one of the servers, for messages to users who are away; default
                   http://127.0.0.1:3001
  --api-key KEY    one of the server's admin.api_keys, if it has any. Default: SWITCHBOARD_API_KEY
  --secret SECRET  signs the tokens (HS256). Default: SWITCHBOARD_SECRET, or the well-known secret of
                   \`switchboard --dev\``;

const NAME = /^[a-z0-9-]{1,20}$/;
const MAX_BODY = 4_096;

const options = readOptions();
const backEnd = new BackEnd(options.admin, options.apiKey);

const FILES = {
  "/": "public/index.html",
  "/app.js": "public/app.js",
  "/inbox.js": "public/inbox.js",
  "/letters.js": "public/letters.js",
  "/presence.js": "public/presence.js",
  "/view.js": "public/view.js",
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

async function answer(request) {
  const { method, url } = request;
  const { pathname, searchParams } = new URL(url, "http://page");
  if (method === "POST" && pathname === "/letters") return leaveLetter(request);
  if (method !== "GET" && method !== "HEAD") return json({ error: "GET only" }, 405);
  // A list of names, not a folder: no path in a request can lead out of it.
  if (Object.hasOwn(FILES, pathname)) {
    const file = FILES[pathname];
    return { type: TYPES[extname(file)], body: await readFile(join(import.meta.dirname, file)) };
  }
  if (pathname === "/config.json") return json({ servers: options.servers });
  if (pathname === "/token") {
    const user = searchParams.get("user") ?? "";
    if (!NAME.test(user)) return json({ error: "user: 1 to 20 of a-z, 0-9 and -" }, 400);
    return json({ token: await demoToken(user, options.secret) });
  }
  if (pathname === "/letters") return json({ missing: await backEnd.missing() });
  return json({ error: "not found" }, 404);
}

/** Leaves a message for a user, from whoever the token says. */
async function leaveLetter(request) {
  if (!isOurPage(request.headers)) return json({ error: "only this page may do that" }, 403);
  const body = await bodyOf(request);
  if (body === undefined) return json({ error: `more than ${MAX_BODY} bytes` }, 413);
  const { to, text, id, token } = parsed(body);
  if (typeof to !== "string" || !NAME.test(to)) return json({ error: "to: 1 to 20 of a-z, 0-9 and -" }, 400);
  if (typeof text !== "string" || text.length < 1 || text.length > 300) return json({ error: "text: 1 to 300 characters" }, 400);
  if (typeof id !== "string" || !/^[0-9a-f-]{36}$/.test(id)) return json({ error: "id: a UUID" }, 400);
  const from = token === undefined ? null : await userOf(token, options.secret);
  if (from === undefined) return json({ error: "the token is not valid" }, 401);
  try {
    // The sender belongs to the id: nobody can use up the ids of somebody else.
    const seq = await backEnd.keep(to, { event: "letter", args: [{ from, text, id, at: Date.now() }], id: `${from ?? ""}/${id}` });
    return json({ seq });
  } catch (error) {
    return json({ error: error.message }, 502);
  }
}

/** The admin port trusts this machine, so this server must not pass on what a foreign page makes a browser send. */
function isOurPage({ host = "", origin = `http://${host}` }) {
  return /^(127\.0\.0\.1|localhost)(:\d+)?$/.test(host) && origin === `http://${host}`;
}

/** The body as text, or nothing if it is too long. */
async function bodyOf(request) {
  const chunks = [];
  let size = 0;
  for await (const chunk of request) {
    size += chunk.length;
    if (size <= MAX_BODY) chunks.push(chunk);
  }
  return size > MAX_BODY ? undefined : Buffer.concat(chunks).toString();
}

function parsed(text) {
  try {
    return Object(JSON.parse(text));
  } catch {
    return {};
  }
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
        admin: { type: "string", default: "http://127.0.0.1:3001" },
        "api-key": { type: "string", default: process.env.SWITCHBOARD_API_KEY },
        secret: { type: "string", default: process.env.SWITCHBOARD_SECRET ?? DEV_SECRET },
        help: { type: "boolean", short: "h" },
      },
    });
    if (values.help) {
      console.log(HELP);
      process.exit(0);
    }
    for (const url of [...values.server, values.admin]) if (!URL.canParse(url) || !/^https?:/.test(url)) throw new Error(`${url} is no http URL`);
    if (!/^\d{1,5}$/.test(values.port) || values.port > 65_535) throw new Error(`${values.port} is no port`);
    return { port: Number(values.port), servers: values.server, admin: values.admin.replace(/\/+$/, ""), apiKey: values["api-key"], secret: values.secret };
  } catch (error) {
    console.error(`${error.message}\n\n${HELP}`);
    process.exit(2);
  }
}

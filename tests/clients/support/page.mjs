// The server of the demo's page.

import { spawn } from "node:child_process";
import { join } from "node:path";

import { cleanEnvironment } from "./server.mjs";
import { SECRET } from "./tokens.mjs";
import { until } from "./waiting.mjs";

const PAGE = join(import.meta.dirname, "../../../client-demo/page.mjs");

/** Starts the page's server for these servers, with the admin port of one of them; returns its address. */
export async function servePage(serverUrls, admin) {
  const servers = serverUrls.flatMap((url) => ["--server", url]);
  const args = [PAGE, "--port", "0", ...servers, "--admin", `http://127.0.0.1:${admin}`, "--secret", SECRET];
  const child = spawn(process.execPath, args, { env: cleanEnvironment(), stdio: ["ignore", "pipe", "inherit"] });
  let said = "";
  child.stdout.on("data", (chunk) => (said += chunk));
  const url = await until("the page's server says where it is", () => /http:\/\/127\.0\.0\.1:\d+\//.exec(said)?.[0]);
  return { url, process: child };
}

// The alerts of deploy/prometheus ask only for what a node shows, and Prometheus's own tool has nothing
// to say against them, nor against what the node shows.

import assert from "node:assert/strict";
import { execFile, spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, it } from "node:test";
import { promisify } from "node:util";

import { parse } from "yaml";

import { redisFor } from "./support/redis.mjs";
import { freePorts, serverForThisFile } from "./support/server.mjs";
import { until } from "./support/waiting.mjs";

const ROOT = join(import.meta.dirname, "../..");
const RULES = "deploy/prometheus/rules.yml";

describe(RULES, async () => {
  const redis = await redisFor();
  const [port] = await freePorts(1);
  await serverForThisFile({ admin_listen: `127.0.0.1:${port}`, redis: { url: redis.url } });
  const scrape = async () => (await fetch(`http://127.0.0.1:${port}/metrics`)).text();
  // The second one has the first one among the requests.
  const text = await until("a scrape with all there is", async () => {
    const text = await scrape();
    return text.includes("switchboard_admin_request_duration_seconds_count") && text;
  });
  const samples = [...text.matchAll(/^(\w+)(?:\{(.*)\})? /gm)].map(([, name, labels = ""]) => ({ name, labels: Object.fromEntries([...labels.matchAll(/(\w+)="(.*?)"/g)].map(([, key, value]) => [key, value])) }));
  const { groups } = parse(await readFile(join(ROOT, RULES), "utf8"));
  const rules = groups.flatMap(({ rules }) => rules);

  it("asks only for metrics and labels that are there", () => {
    assert.ok(rules.length > 10);
    for (const { alert, expr } of rules) {
      const asked = [...expr.matchAll(/\b((?:switchboard|process)_\w+)(?:\{(.*?)\})?/g)];
      assert.ok(asked.length, alert);
      for (const [, name, matchers = ""] of asked) {
        const fits = ({ labels }) => [...matchers.matchAll(/(\w+)(=~|!=|=)"(.*?)"/g)].every(([, label, operator, value]) => {
          if (operator === "!=") return labels[label] !== undefined && labels[label] !== value;
          return new RegExp(operator === "=~" ? `^(?:${value})$` : `^${value}$`).test(labels[label]);
        });
        // Nothing has been handled yet, so no event has a bucket; its family is there.
        const found = samples.filter((sample) => sample.name === name);
        if (!found.length) assert.match(text, new RegExp(`^# TYPE ${name.replace(/_bucket$/, "")} histogram$`, "m"), `${alert}: ${name}`);
        else assert.ok(found.some(fits), `${alert}: ${name}{${matchers}}`);
      }
    }
  });

  it("says of each alert how bad it is and what it means", () => {
    for (const { alert, labels, annotations } of rules) {
      assert.match(labels.severity, /^(critical|warning)$/, alert);
      assert.ok(annotations.summary && annotations.description, alert);
    }
    assert.equal(new Set(rules.map(({ alert }) => alert)).size, rules.length);
  });

  const promtool = process.env.PROMTOOL ?? [join(ROOT, "target/tools/promtool"), "/usr/bin/promtool"].find(existsSync);
  const skip = promtool ? false : "there is no promtool: `make target/tools/promtool` gets the one of Debian";

  it("is right for promtool, and fires when it should", { skip }, async (t) => {
    const run = (...args) => promisify(execFile)(promtool, args, { cwd: ROOT }).catch(({ stdout, stderr }) => assert.fail(stdout + stderr));
    t.diagnostic((await run("check", "rules", RULES)).stdout.trim().replace(/\s+/g, " "));
    await run("test", "rules", "deploy/prometheus/rules.test.yml");
  });

  it("what a node shows is right for promtool", { skip }, () => {
    const { status, stdout, stderr } = spawnSync(promtool, ["check", "metrics"], { input: text, encoding: "utf8" });
    assert.deepEqual({ status, said: stdout + stderr }, { status: 0, said: "" });
  });
});

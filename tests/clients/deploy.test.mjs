// The files in deploy/ and docker-compose.yml say nothing that the binary would refuse, and give it the
// time that it asks for.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { after, describe, it } from "node:test";
import { parse, parseAllDocuments } from "yaml";

const ROOT = join(import.meta.dirname, "../..");
const BIN = resolve(process.env.SWITCHBOARD_BIN ?? join(ROOT, "target/debug/switchboard"));
const KUBERNETES = "deploy/kubernetes";
// No comma: in a variable it would part two secrets.
const SECRET = "a secret of more than thirty-two bytes for tests";

const dir = await mkdtemp(join(tmpdir(), "switchboard-deploy-"));
after(() => rm(dir, { recursive: true, force: true }));

const read = (path) => readFile(join(ROOT, path), "utf8");
const yaml = async (path) => parse(await read(path));

/** What `switchboard config` says to these arguments of `serve`, in this environment alone. */
async function config(args, env) {
  assert.equal(args[0], "serve");
  return new Promise((done) => {
    execFile(BIN, ["config", ...args.slice(1)], { env }, (error, out, err) => done({ code: error ? error.code : 0, out, err }));
  });
}

/** As `config`; fails unless the server would take it without a word. */
async function accepted(args, env) {
  const { code, out, err } = await config(args, env);
  assert.equal(code, 0, err);
  assert.equal(err, "");
  return {
    out,
    seconds: (section, key) => seconds(valueOf(out, section, key)),
    bytes: (section, key) => bytes(valueOf(out, section, key)),
  };
}

function valueOf(out, section, key) {
  const [, value] = new RegExp(`\\[${section}\\]\\n(?:.+\\n)*?${key} = "(.*?)"`).exec(out);
  return value;
}

/** A size as the configuration or Kubernetes writes it. */
function bytes(text) {
  const [, number, unit] = /^(\d+)(B|KB|kB|MB|GB|Ki|Mi|Gi|KiB|MiB|GiB)$/.exec(text);
  return number * (unit.includes("i") ? 1024 : 1000) ** "BKMG".indexOf(unit[0].toUpperCase());
}

function seconds(text) {
  const [, number, unit = "s"] = /^([\d.]+)(ms|s|m|h)?$/.exec(String(text));
  return number * { ms: 0.001, s: 1, m: 60, h: 3600 }[unit];
}

/** The environment with each `…_FILE` leading to a file that exists here. */
async function withSecrets(env) {
  const files = { SWITCHBOARD_REDIS__URL_FILE: "redis://127.0.0.1:1" };
  const local = await Promise.all(Object.entries(env).map(async ([name, value]) => {
    if (!name.endsWith("_FILE")) return [name, value];
    const file = join(dir, name);
    await writeFile(file, `${files[name] ?? SECRET}\n`, { mode: 0o600 });
    return [name, file];
  }));
  return Object.fromEntries(local);
}

/** The arguments with the configuration file in the place that it has here. */
function withConfig(args, from, to) {
  assert.ok(args.includes(from), `${args} names ${from}`);
  return args.map((arg) => (arg === from ? to : arg));
}

describe("docker-compose.yml", () => {
  it("sets what the server knows, and stops it with patience", async () => {
    const { services } = await yaml("docker-compose.yml");
    const node = services.switchboard;
    // As Compose does it where nothing is set but the secret.
    const value = (text) => (text.startsWith("${SWITCHBOARD_SECRET") ? SECRET : text.replace(/^\$\{\w+:-(.*)\}$/, "$1"));
    const env = Object.fromEntries(Object.entries(node.environment).map(([name, text]) => [name, value(text)]));
    const { seconds: configured, out } = await accepted(node.command, env);
    assert.match(out, /\[redis\]\nurl = "redis:\/\//);
    assert.ok(seconds(node.stop_grace_period) > configured("drain", "timeout"));
  });

  it("can be scaled, and has HAProxy wait for as long as a poll may take", async () => {
    const { services } = await yaml("docker-compose.yml");
    assert.equal(services.switchboard.ports, undefined, "two nodes cannot have one port");
    assert.equal(services.switchboard.container_name, undefined);
    const cfg = await read("deploy/haproxy/haproxy.cfg");
    const { seconds: configured } = await accepted(["serve"], {});
    for (const timeout of ["client", "server"]) {
      const [, value] = new RegExp(`^ *timeout ${timeout} +(\\S+)$`, "m").exec(cfg);
      assert.ok(seconds(value) > configured("engine", "ping_interval"), timeout);
    }
  });
});

describe("deploy/kubernetes", () => {
  const pod = async (path) => (await yaml(path)).spec.template.spec;
  const environment = (container) => Object.fromEntries(container.env.map(({ name, value }) => [name, value]));

  it("names files that are there and hold what they should", async () => {
    for (const part of ["base", "components/monitoring", "overlays/trial"]) {
      const { resources, patches = [] } = await yaml(`${KUBERNETES}/${part}/kustomization.yaml`);
      for (const path of [...resources, ...patches.flatMap(({ path }) => path ?? [])]) {
        const file = path.endsWith(".yaml") ? path : `${path}/kustomization.yaml`;
        for (const document of parseAllDocuments(await read(`${KUBERNETES}/${part}/${file}`))) {
          assert.deepEqual(document.errors, []);
          assert.ok(document.get("kind"), `${part}/${file}`);
        }
      }
    }
  });

  it("configures what the server knows, and stops it with patience", async () => {
    const { containers: [container], terminationGracePeriodSeconds } = await pod(`${KUBERNETES}/base/deployment.yaml`);
    const args = withConfig(container.args, "/etc/switchboard/switchboard.toml", join(ROOT, KUBERNETES, "base/switchboard.toml"));
    const { seconds: configured, out } = await accepted(args, await withSecrets(environment(container)));
    assert.match(out, /^listen = "0\.0\.0\.0:3000"$/m);
    assert.ok(terminationGracePeriodSeconds > configured("drain", "timeout"));
  });

  it("has memory for all that may wait, and for the connections beside it", async () => {
    const { containers: [container] } = await pod(`${KUBERNETES}/base/deployment.yaml`);
    const args = withConfig(container.args, "/etc/switchboard/switchboard.toml", join(ROOT, KUBERNETES, "base/switchboard.toml"));
    const { bytes: configured } = await accepted(args, await withSecrets(environment(container)));
    const waits = configured("limits", "max_buffered_bytes") + configured("edge", "max_bodies") + configured("redis", "pending_max");
    assert.ok(waits <= 0.6 * bytes(container.resources.limits.memory), `${waits} bytes may wait`);
  });

  it("opens the administration port to those with a key", async () => {
    const { containers: [{ env, ports }] } = await pod(`${KUBERNETES}/components/monitoring/deployment.yaml`);
    const set = environment({ env });
    assert.equal(set.SWITCHBOARD_ADMIN_LISTEN, `0.0.0.0:${ports[0].containerPort}`);
    const { err } = await config(["serve"], await withSecrets(set));
    assert.doesNotMatch(err, /^error:/m);
  });

  it("lets nothing more than needed happen in the container", async () => {
    for (const path of ["base/deployment.yaml", "overlays/trial/redis.yaml"]) {
      const [document] = parseAllDocuments(await read(`${KUBERNETES}/${path}`));
      const { securityContext, automountServiceAccountToken, containers } = document.toJS().spec.template.spec;
      assert.equal(securityContext.runAsNonRoot, true);
      assert.equal(automountServiceAccountToken, false);
      for (const { securityContext: own } of containers) {
        assert.deepEqual(own, { allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: { drop: ["ALL"] } });
      }
    }
  });

  it("selects its own pods: an empty selector would be all of the namespace", async () => {
    const own = { "app.kubernetes.io/name": "switchboard" };
    for (const [path, selector] of [["deployment", "selector"], ["poddisruptionbudget", "selector"], ["networkpolicy", "podSelector"]]) {
      const { spec } = await yaml(`${KUBERNETES}/base/${path}.yaml`);
      assert.deepEqual(spec[selector], { matchLabels: own }, path);
    }
    assert.deepEqual((await yaml(`${KUBERNETES}/base/service.yaml`)).spec.selector, own);
  });
});

describe("deploy/systemd", () => {
  it("starts the server with what it knows, and stops it with patience", async () => {
    const unit = await read("deploy/systemd/switchboard.service");
    const all = (key) => [...unit.matchAll(new RegExp(`^${key}=(.*)$`, "gm"))].map(([, value]) => value);
    const [start] = all("ExecStart");
    const file = join(dir, "switchboard.toml");
    await writeFile(file, "");
    const args = withConfig(start.split(" ").slice(1), "/etc/switchboard/switchboard.toml", file);
    const env = Object.fromEntries(all("Environment").map((setting) => setting.split("=")));
    const { seconds: configured } = await accepted(args, await withSecrets(env));
    assert.ok(seconds(all("TimeoutStopSec")[0]) > configured("drain", "timeout"));
    // Each credential that it is given is one that it uses.
    const loaded = all("LoadCredential").map((value) => `%d/${value.split(":")[0]}`);
    assert.deepEqual(loaded.sort(), Object.values(env).sort());
  });
});

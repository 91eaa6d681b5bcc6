// TLS on the public port, with a certificate that is replaced while clients are connected.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { once } from "node:events";
import { copyFile, mkdtemp, rm, writeFile } from "node:fs/promises";
import { connect as tcp } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, it } from "node:test";
import { connect as tls } from "node:tls";
import { promisify } from "node:util";

import { TRANSPORTS, ack, connect, heard, upgraded } from "./support/clients.mjs";
import { reconfigure, runBinary, tlsServerFor } from "./support/server.mjs";
import { DEADLINE, until, within } from "./support/waiting.mjs";

const run = promisify(execFile);

/** Certificates of a temporary directory, and the pair of files that the server reads. */
async function certificates(t) {
  const dir = await mkdtemp(join(tmpdir(), "switchboard-tls-"));
  t.after(() => rm(dir, { recursive: true, force: true }));
  const files = { cert_file: join(dir, "cert.pem"), key_file: join(dir, "key.pem") };
  return {
    files,
    /** Makes a certificate and puts it where the server looks; returns its fingerprint. */
    async renew(name) {
      const [cert, key] = [join(dir, `${name}.cert`), join(dir, `${name}.key`)];
      await run("openssl", ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", key, "-out", cert, "-days", "2", "-subj", `/CN=${name}`, "-addext", "subjectAltName=IP:127.0.0.1"]);
      await copyFile(cert, files.cert_file);
      await copyFile(key, files.key_file);
      const { stdout } = await run("openssl", ["x509", "-in", cert, "-noout", "-fingerprint", "-sha256"]);
      return stdout.trim().split("=")[1];
    },
  };
}

/** What a new connection is shown. */
async function shown(server, options = {}) {
  const socket = tls({ port: server.port, host: "127.0.0.1", rejectUnauthorized: false, ...options });
  await within(DEADLINE, "the TLS handshake", once(socket, "secureConnect"));
  const { fingerprint256 } = socket.getPeerCertificate();
  const protocol = socket.getProtocol();
  socket.destroy();
  return { fingerprint: fingerprint256, protocol };
}

const secure = { rejectUnauthorized: false };

async function securedServer(t, config = {}) {
  const made = await certificates(t);
  const fingerprint = await made.renew("first");
  const server = await tlsServerFor(t, { tls: made.files, ...config });
  return { server, fingerprint, ...made };
}

describe("with a certificate", () => {
  for (const [name, transports] of Object.entries(TRANSPORTS)) {
    it(`a client is served over TLS (${name})`, async (t) => {
      const { server } = await securedServer(t);
      assert.match(server.url, /^https:/);
      const socket = await connect(t, server, { transports, ...secure });
      if (transports.length > 1) await upgraded(socket);
      const bytes = Buffer.alloc(100_000, "switchboard");
      const echo = heard(socket, "events");
      assert.equal(await ack(socket, "events", "secret", bytes), "secret");
      assert.deepEqual(Buffer.from((await echo)[1]), bytes);
    });
  }

  it("a client that checks certificates does not connect to a stranger's", async (t) => {
    const { server } = await securedServer(t);
    for (const transports of [["polling"], ["websocket"]]) await assert.rejects(connect(t, server, { transports }));
  });

  it("it is the one of the file, by TLS 1.2 and 1.3, and not by what is older", async (t) => {
    const { server, fingerprint } = await securedServer(t);
    assert.deepEqual(await shown(server), { fingerprint, protocol: "TLSv1.3" });
    assert.deepEqual(await shown(server, { maxVersion: "TLSv1.2" }), { fingerprint, protocol: "TLSv1.2" });
    await assert.rejects(shown(server, { minVersion: "TLSv1", maxVersion: "TLSv1.1", ciphers: "DEFAULT@SECLEVEL=0" }));
  });

  it("nobody is served without TLS", async (t) => {
    const { server } = await securedServer(t);
    const plain = { url: server.url.replace("https", "http") };
    for (const transports of [["polling"], ["websocket"]]) await assert.rejects(connect(t, plain, { transports }));
    await assert.rejects(fetch(`${plain.url}/healthz`));
  });

  for (const [name, bytes] of Object.entries({ "says nothing": "", "begins a handshake": Buffer.from([0x16, 0x03, 0x01, 0x02]) })) {
    it(`who connects and only ${name} is cut off`, async (t) => {
      // The default is 10 s: a connection that ends within the deadline of 5 s has met this one.
      const { server } = await securedServer(t, { edge: { handshake_timeout: "300ms" } });
      const socket = tcp({ port: server.port, host: "127.0.0.1" });
      t.after(() => socket.destroy());
      socket.on("error", () => {}).resume(); // a reset is an end as good as any; "close" follows
      socket.write(bytes);
      await within(DEADLINE, "the server closes the connection", new Promise((closed) => socket.on("close", closed)));
    });
  }
});

describe("a stranger on the TLS port", () => {
  const RECORD = Buffer.from([0x14, 0x03, 0x03, 0x00, 0x01, 0x01]); // change_cipher_spec, out of place
  const ALERT = Buffer.from([0x15, 0x03, 0x03, 0x00, 0x02, 0x01, 0x5a]); // user_canceled, a warning
  it("fills no log with records that make no sense", async (t) => {
    const { server } = await securedServer(t);
    const before = server.logs.length;
    for (const record of [RECORD, ALERT]) {
      const socket = tcp({ port: server.port, host: "127.0.0.1" });
      t.after(() => socket.destroy());
      socket.on("error", () => {});
      for (let n = 0; n < 200; n++) socket.write(record);
      const secret = tls({ port: server.port, host: "127.0.0.1", rejectUnauthorized: false });
      t.after(() => secret.destroy());
      await within(DEADLINE, "the TLS handshake", once(secret, "secureConnect"));
    }
    await connect(t, server, secure);
    assert.equal(server.logs.slice(before), "");
  });
});

describe("SIGHUP", () => {
  it("serves a new certificate, and those who are connected stay", async (t) => {
    const { server, fingerprint, files, renew } = await securedServer(t);
    const sockets = await Promise.all(Object.values(TRANSPORTS).map((transports) => connect(t, server, { transports, ...secure })));
    await upgraded(sockets[2]);
    const reasons = [];
    for (const socket of sockets) socket.on("disconnect", (reason) => reasons.push(reason));

    const renewed = await renew("second");
    assert.equal((await shown(server)).fingerprint, fingerprint, "files alone change nothing");
    await reconfigure(server, { tls: files });
    await until("the new certificate is shown", async () => (await shown(server)).fingerprint === renewed);
    assert.notEqual(renewed, fingerprint);
    for (const socket of [...sockets, await connect(t, server, secure)]) assert.equal((await ack(socket, "whoami")).socket, socket.id);
    assert.deepEqual(reasons, []);
  });

  const spoilt = {
    "whose certificate is garbage": ({ cert_file }) => writeFile(cert_file, "garbage"),
    "whose key is missing": ({ key_file }) => rm(key_file),
    "whose key belongs to another certificate": async ({ key_file }, renew, certificate) => {
      await renew("third");
      const key = `${key_file}.kept`;
      await copyFile(key_file, key);
      await certificate();
      await copyFile(key, key_file);
    },
  };
  for (const [name, spoil] of Object.entries(spoilt)) {
    it(`with files ${name} keeps the certificate in use and says so`, async (t) => {
      const { server, fingerprint, files, renew } = await securedServer(t);
      const socket = await connect(t, server, secure);
      await spoil(files, renew, () => renew("fourth"));
      server.signal("SIGHUP");
      await until("the server complains", () => /certificate|not reloaded/.test(server.logs));
      assert.equal((await shown(server)).fingerprint, fingerprint);
      for (const one of [socket, await connect(t, server, secure)]) assert.equal((await ack(one, "whoami")).socket, one.id);
      // Once the files are good again, so is the server.
      const repaired = await renew("repaired");
      server.signal("SIGHUP");
      await until("the new certificate is shown", async () => (await shown(server)).fingerprint === repaired);
    });
  }
});

describe("switchboard config and serve", () => {
  const spoilt = {
    "a certificate that is garbage": [({ cert_file }) => writeFile(cert_file, "garbage"), /^error: tls\.cert_file: no certificate in `.*cert\.pem` \(.*\.toml:\d+\)$/m],
    "a key that is missing": [({ key_file }) => rm(key_file), /^error: tls\.key_file: cannot read `.*key\.pem`: .*No such file/m],
    "a key of another certificate": [async ({ key_file }, renew) => {
      await copyFile(key_file, `${key_file}.kept`);
      await renew("other");
      await copyFile(`${key_file}.kept`, key_file);
    }, /^error: tls\.key_file: the key in `.*key\.pem` does not belong to the certificate in `.*cert\.pem`/m],
    "a key that needs a password": [({ key_file }) => run("openssl", ["pkcs8", "-topk8", "-in", key_file, "-passout", "pass:x", "-out", `${key_file}.locked`]).then(() => copyFile(`${key_file}.locked`, key_file)), /^error: tls\.key_file: no private key in `.*key\.pem` \(one that is encrypted cannot be used\)/m],
    "a certificate that is cut": [({ cert_file }) => run("/bin/sh", ["-c", `head -c 300 "${cert_file}" > "${cert_file}.cut" && mv "${cert_file}.cut" "${cert_file}"`]), /^error: tls\.cert_file: .*cert\.pem`/m],
  };
  for (const [name, [spoil, said]] of Object.entries(spoilt)) {
    it(`end with 2 for ${name}, and say why`, async (t) => {
      const { files, renew } = await certificates(t);
      await renew("first");
      const config = { listen: "127.0.0.1:0", admin_listen: "", tls: files };
      assert.equal((await runBinary(["config"], { config })).code, 0);
      await spoil(files, renew);
      for (const command of ["config", "serve"]) {
        const { code, stderr } = await runBinary([command], { config });
        assert.equal(code, 2, stderr);
        assert.match(stderr, said);
      }
    });
  }
});

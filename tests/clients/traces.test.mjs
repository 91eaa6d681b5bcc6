// A server that was built without the feature `otlp` exports no traces and does not pretend to. For a
// binary of `cargo build`; `make test-clients` has the feature, and there a unit test says the same.

import assert from "node:assert/strict";
import { it } from "node:test";

import { runBinary } from "./support/server.mjs";

const ENDPOINT = { OTEL_EXPORTER_OTLP_ENDPOINT: "http://127.0.0.1:4318" };

it("where traces should go is refused, and the feature is named", async (t) => {
  if ((await runBinary(["config"], { env: ENDPOINT })).code === 0) return t.skip("this binary was built with the feature `otlp`");
  const asked = [
    { env: ENDPOINT },
    { env: { SWITCHBOARD_TRACES__ENDPOINT: "http://127.0.0.1:4318" } },
    { config: { traces: { endpoint: "http://127.0.0.1:4318" } } },
  ];
  for (const options of asked) {
    for (const command of ["serve", "config"]) {
      const { code, stderr } = await runBinary([command], options);
      assert.equal(code, 2, stderr);
      assert.match(stderr, /^error: traces\.endpoint: needs the cargo feature `otlp`/);
    }
  }
});

it("traces that are switched off need no feature", async () => {
  for (const off of [{ OTEL_TRACES_EXPORTER: "none" }, { OTEL_SDK_DISABLED: "true" }]) {
    const { code, stdout } = await runBinary(["config"], { env: { ...ENDPOINT, ...off } });
    assert.equal(code, 0);
    assert.match(stdout, /\[traces\]\nendpoint = ""\n/);
  }
});

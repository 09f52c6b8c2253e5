import { expect, test } from "vitest";
import { envName, loadConfig, refuseServers } from "../../../../services/shared/runtime/config.ts";
import { ServingError } from "../../../../services/shared/runtime/errors.ts";

test("an empty environment gives the defaults", () => {
  expect(loadConfig({})).toMatchObject({ segmentTokens: 512, natsUrl: "memory:", plainKv: false, mode: "serving" });
});

test("names become LONGSHORE_ and capitals", () => {
  expect(envName("segmentTokens")).toBe("LONGSHORE_SEGMENT_TOKENS");
  expect(loadConfig({ LONGSHORE_SEGMENT_TOKENS: "1024" }).segmentTokens).toBe(1024);
});

test("one error names every problem, unknown names included", () => {
  const env = { LONGSHORE_SEGMENT_TOKENS: "500", LONGSHORE_PORT: "70000", LONGSHORE_NATS_URL: "http://x", LONGSHORE_SEGMENT_TOKNES: "512" };
  let thrown: unknown;
  try {
    loadConfig(env);
  } catch (error) {
    thrown = error;
  }
  expect(thrown).toBeInstanceOf(ServingError);
  const { message } = thrown as ServingError;
  expect(message).toContain("LONGSHORE_SEGMENT_TOKENS=500: must be a multiple of 128");
  expect(message).toContain("LONGSHORE_PORT=70000: must be at most 65535");
  expect(message).toContain("LONGSHORE_NATS_URL: must begin with");
  expect(message).toContain("LONGSHORE_SEGMENT_TOKNES: no such setting");
});

test.each(["http://yard:secret@redis:6379", "yard:secret@redis:6379", "redis//:secret@redis"])(
  "a URL at fault is named and not repeated, since it may hold a password: %s",
  (value) => {
    const refused = () => loadConfig({ LONGSHORE_REDIS_URL: value, LONGSHORE_NATS_URL: value });
    expect(refused).toThrow(/LONGSHORE_NATS_URL: must begin with nats: .*LONGSHORE_REDIS_URL: must begin with redis: /s);
    expect(refused).not.toThrow(/secret/);
  },
);

test("a log that would drop jobs before their deadline and retention are over is refused", () => {
  const env = { LONGSHORE_DEADLINE_SECONDS: "86400", LONGSHORE_RETENTION_SECONDS: "604800" };
  expect(() => loadConfig(env)).toThrow(
    "LONGSHORE_LOG_MAX_AGE_SECONDS=604800: must be at least the deadline and the retention together, 691200",
  );
  expect(loadConfig({ ...env, LONGSHORE_LOG_MAX_AGE_SECONDS: "691200" }).retentionSeconds).toBe(604_800);
});

test("a chunk that takes as long as a worker may take to stop is refused", () => {
  const chunkMs = (value: string) => loadConfig({ LONGSHORE_DRAIN_MS: "5000", LONGSHORE_CHUNK_MS: value }).chunkMs;
  expect(() => chunkMs("5000")).toThrow("LONGSHORE_CHUNK_MS=5000: must be less than LONGSHORE_DRAIN_MS, 5000");
  expect(chunkMs("4999")).toBe(4_999);
});

test("what keeps everything in its own process refuses servers, by name", () => {
  expect(() => refuseServers(loadConfig({}))).not.toThrow();
  const servers = loadConfig({ LONGSHORE_NATS_URL: "nats://127.0.0.1:1", LONGSHORE_REDIS_URL: "redis://127.0.0.1:1" });
  expect(() => refuseServers(servers)).toThrow("unset LONGSHORE_NATS_URL and LONGSHORE_REDIS_URL;");
});

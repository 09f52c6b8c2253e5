import { expect, test } from "vitest";
import { stalledMs } from "../../../../services/api/http/sse.ts";
import { envName, loadConfig, refuseLockedDoor, refuseServers } from "../../../../services/shared/runtime/config.ts";
import { ServingError } from "../../../../services/shared/runtime/errors.ts";
import { settingGroups } from "../../../../services/shared/runtime/settings.ts";

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

test("no time is longer than a timer can wait, or the record can count: beyond that a timer of Node runs out at once", () => {
  const names = Object.values(settingGroups).flatMap((group) => Object.keys(group).map(envName));
  const all = (unit: RegExp, value: number) =>
    Object.fromEntries(names.filter((name) => unit.test(name)).map((name) => [name, String(value)]));
  const [ms, seconds] = [all(/_MS$/, 2 ** 31), all(/_SECONDS$/, 9_223_372_037)];
  for (const [name, value] of Object.entries({ ...ms, ...seconds })) {
    expect(() => loadConfig({ [name]: value }), name).toThrow(new RegExp(`${name}=${value}: must be at most \\d+$`));
  }
  expect(Object.keys(ms).length + Object.keys(seconds).length).toBeGreaterThan(14);
  expect(loadConfig({ LONGSHORE_GRACE_MS: "2147483647", LONGSHORE_LOG_MAX_AGE_SECONDS: "9223372036" }).graceMs).toBe(2_147_483_647);
});

test("of what is waited for several times in one, the longest fits", () => {
  const { beatMs, heartbeatMs } = loadConfig({ LONGSHORE_BEAT_MS: "715827882", LONGSHORE_HEARTBEAT_MS: "715827882" });
  expect(Math.max(3 * beatMs, stalledMs({ heartbeatMs }))).toBeLessThan(2 ** 31);
  expect(() => loadConfig({ LONGSHORE_BEAT_MS: "715827883" })).toThrow("must be at most 715827882");
});

test("a cluster in one process does not require keys that nobody can make", () => {
  expect(() => refuseLockedDoor({ requireKeys: true, apiKeys: "" })).toThrow("printf %s KEY | sha256sum");
  for (const door of [
    { requireKeys: false, apiKeys: "" },
    { requireKeys: true, apiKeys: "a" },
  ])
    expect(() => refuseLockedDoor(door)).not.toThrow();
});

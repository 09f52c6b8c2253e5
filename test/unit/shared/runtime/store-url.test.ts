import { expect, test } from "vitest";
import { connectionOptions } from "../../../../services/shared/bus/nats/connection-options.ts";
import { ServingError } from "../../../../services/shared/runtime/errors.ts";
import { parseRedisUrl } from "../../../../services/shared/segments/redis/target.ts";

/** What reading a URL is refused with. */
function refusal(read: () => unknown): ServingError {
  try {
    read();
  } catch (thrown) {
    if (thrown instanceof ServingError) return thrown;
    throw thrown;
  }
  throw new Error("it was taken");
}

test.each([
  ["a bare %", "secret%", /% in a user or a password is written %25$/],
  ["a bare % before letters", "100%secret", /% in a user or a password is written %25$/],
  ["a bare /", "sec/secret", / is written %2F/],
  ["a bare #", "sec#secret", / # %23 /],
])("a password with %s is refused in words that name the setting and say how to write it", (_, password, words) => {
  const nats = refusal(() => connectionOptions(`nats://yard:${password}@host:4222`, 100));
  const redis = refusal(() => parseRedisUrl(`redis://:${password}@host:6379/0`));
  for (const [name, { code, message }] of [
    ["LONGSHORE_NATS_URL: ", nats],
    ["LONGSHORE_REDIS_URL: ", redis],
  ] as const) {
    expect([code, message]).toEqual(["INVALID_REQUEST", expect.stringMatching(words)]);
    expect(message.startsWith(name)).toBe(true);
    expect(message).not.toContain("secret");
  }
});

test("a token behind which a / was not written %2F is no host name to look for", () => {
  expect(refusal(() => connectionOptions("nats://sec/secret@host:4222", 100)).message).toBe(
    "LONGSHORE_NATS_URL: a / in a user or a password is written %2F",
  );
});

test("what is written so is meant so", () => {
  expect(connectionOptions("nats://yard:100%25%2F%23%40@host:4222", 100)).toMatchObject({ user: "yard", pass: "100%/#@" });
  expect(parseRedisUrl("redis://yard:100%25%2F%23%40@host:6380/3")).toMatchObject({
    username: "yard",
    password: "100%/#@",
    port: 6380,
    db: 3,
  });
  expect(parseRedisUrl("unix://yard:s@localhost/run/redis@1.sock?db=2")).toMatchObject({ path: "/run/redis@1.sock", password: "s", db: 2 });
});

test("a database that is none, and a socket's path with a bare %, are refused without being repeated", () => {
  expect(refusal(() => parseRedisUrl("redis://host/secret")).message).toBe(
    "LONGSHORE_REDIS_URL: the database, behind the last /, must be a number",
  );
  expect(refusal(() => parseRedisUrl("unix:///run/100%.sock")).message).toBe(
    "LONGSHORE_REDIS_URL: a % in the socket's path is written %25",
  );
});

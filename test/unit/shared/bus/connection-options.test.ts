import { expect, test } from "vitest";
import { connectionOptions } from "../../../../services/shared/bus/nats/connection-options.ts";

test("several servers of one cluster are dialled as whoever the first URL names", () => {
  expect(connectionOptions("nats://me:se%40cret@a:4222,nats://b:4223", 100)).toMatchObject({
    ...{ servers: ["a:4222", "b:4223"], user: "me", pass: "se@cret" },
  });
  expect(connectionOptions("tls://token@a:4222", 100)).toMatchObject({ servers: ["a:4222"], token: "token", tls: {} });
});

test("a URL that cannot be read is refused in words that do not repeat it: it may hold a password", () => {
  const refused = () => connectionOptions("nats://me:secret@host:99999", 100);
  expect(refused).toThrow(/^LONGSHORE_NATS_URL: must be nats:\/\/host:4222/);
  expect(refused).not.toThrow(/secret/);
});

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

test.each([
  ["nats://u:secret@a:4222,tls://b:4222", "all servers must have nats:// URLs, or all tls://"],
  ["tls://u:secret@a:4222,nats://b:4222", "all servers must have nats:// URLs, or all tls://"],
  ["tls://a:4222,tls://u:secret@b:4222", "put user and password in the first URL; they must be the same for every server"],
  ["nats://u:secret@a:4222,nats://u:another@b:4222", "put user and password in the first URL; they must be the same for every server"],
])("%s is refused: one connection has one way to all of them", (url, why) => {
  expect(() => connectionOptions(url, 100)).toThrow(`LONGSHORE_NATS_URL: ${why}`);
});

test("a login may be repeated", () => {
  expect(connectionOptions("nats://u:p@a:4222,nats://u:p@b:4222", 100)).toMatchObject({ user: "u", pass: "p" });
});

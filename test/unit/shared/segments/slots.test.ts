import { expect, test } from "vitest";
import { redirectionOf } from "../../../../services/shared/segments/redis/redirection.ts";
import { slotMapOf } from "../../../../services/shared/segments/redis/slot-map.ts";
import { crc16, slotOf } from "../../../../services/shared/segments/redis/slots.ts";
import { parseRedisUrl, parseRedisUrls } from "../../../../services/shared/segments/redis/target.ts";

test("the checksum is that of the cluster specification, appendix A", () => {
  expect(crc16("123456789")).toBe(0x31c3);
  expect(crc16("")).toBe(0);
});

// The tags are the examples of the specification. `contract/segment-store/redis-cluster` asks a redis-server.
test.each([
  ["{user1000}.following", slotOf("user1000")],
  ["foo{}{bar}", crc16("foo{}{bar}") % 16_384],
  ["foo{{bar}}zap", slotOf("{bar")],
  ["foo{bar}{zap}", slotOf("bar")],
  ["foo{bar", crc16("foo{bar") % 16_384],
  ["foo}bar{", crc16("foo}bar{") % 16_384],
  ["somekey", 11_058],
  ["foo", 12_182],
])("%s lies in slot %i", (key, slot) => {
  expect(slotOf(key)).toBe(slot);
});

test("pieces and claim of a value lie in the slot of the value", () => {
  const slots = ["", ":1", ":17", ":claim"].map((end) => slotOf(`longshore:{KEY}${end}`));
  expect(new Set(slots)).toEqual(new Set([slotOf("KEY")]));
});

test("a redirection is read as servers write it, and nothing else is one", () => {
  expect(redirectionOf("MOVED 3999 127.0.0.1:6381")).toEqual({ once: false, slot: 3_999, host: "127.0.0.1", port: 6_381 });
  expect(redirectionOf("ASK 16383 redis-2.yard:7000")).toEqual({ once: true, slot: 16_383, host: "redis-2.yard", port: 7_000 });
  expect(redirectionOf("MOVED 3999 2001:db8::1:6381")).toMatchObject({ host: "2001:db8::1", port: 6_381 });
  expect(redirectionOf("MOVED 3999 :6381")).toMatchObject({ host: "", port: 6_381 });
  for (const text of ["MOVED", "MOVED 1 host", "ERR MOVED 1 a:1", "CLUSTERDOWN Hash slot not served"])
    expect(redirectionOf(text)).toBeNull();
});

test.each(["MOVED 3999 10.0.0.5:0", "MOVED 3999 10.0.0.5:70000", "ASK 3999 10.0.0.5:65536", "MOVED 16384 10.0.0.5:6379"])(
  "%s leads nowhere",
  (text) => {
    expect(() => redirectionOf(text)).toThrow(`redirects to an invalid slot or port: ${text}`);
  },
);

const asked = parseRedisUrl("rediss://yard:s@redis-0:7000");

test("a map of slots names masters, each reached as the node that told", () => {
  const replica = ["10.0.0.9", 7_009, "id", []];
  const map = slotMapOf(
    [
      [0, 99, ["10.0.0.5", 7_001, "id", []], replica],
      [100, 16_383, [null, 7_002, "id"]],
    ],
    asked,
  );
  expect(map).toEqual([
    { first: 0, last: 99, master: { ...asked, host: "10.0.0.5", port: 7_001 } },
    { first: 100, last: 16_383, master: { ...asked, port: 7_002 } },
  ]);
});

test.each([
  ["text", "OK"],
  ["a slot that there is not", [[0, 16_384, ["a", 1]]]],
  ["a range without a master", [[0, 1]]],
  ["a master without a port", [[0, 1, ["a"]]]],
  ["a master with port 0", [[0, 1, ["a", 0]]]],
  ["a master with a port that there is not", [[0, 1, ["a", 65_536]]]],
  ["a range that ends before it begins", [[2, 1, ["a", 1]]]],
])("%s is no map", (_, reply) => {
  expect(() => slotMapOf(reply, asked)).toThrow("redis-0:7000 sent no map of slots");
});

test("a node asked over its socket names masters by host and port", () => {
  const socket = parseRedisUrl("unix:///run/redis.sock");
  const map = slotMapOf([[0, 16_383, [null, 7_002]]], socket);
  expect(map[0]!.master).toEqual({ ...socket, path: null, port: 7_002 });
  expect(() => slotMapOf("OK", socket)).toThrow("/run/redis.sock sent no map of slots");
});

test("a node that names more masters than a cluster has is not believed", () => {
  const naming = (masters: number) => Array.from({ length: 2_000 }, (_, i) => [i, i, ["a", 1 + (i % masters)]]);
  expect(slotMapOf(naming(1_000), asked)).toHaveLength(2_000);
  expect(() => slotMapOf(naming(1_001), asked)).toThrow("redis-0:7000 names 1001 masters, more than 1000");
});

test("a node that knows of no slots is not believed", () => {
  expect(() => slotMapOf([], asked)).toThrow("redis-0:7000 knows of no slots");
});

test("nodes of a cluster are whole URLs; the first says as whom they are asked", () => {
  const [first, second, ...more] = parseRedisUrls("rediss://yard:a,b@redis-0:7000,rediss://redis-1");
  expect([first, second, more]).toEqual([{ ...asked, password: "a,b" }, { ...asked, password: "a,b", host: "redis-1", port: 6_379 }, []]);
});

test.each([
  ["redis://a,rediss://b", "all nodes of a cluster must have redis:// URLs, or all rediss://"],
  ["unix:///a,unix:///b", "all nodes of a cluster must have redis:// URLs, or all rediss://"],
  ["redis://a,redis://:secret@b", "put user and password in the first URL; they must be the same for every node"],
  ["redis://a/1,redis://b", "a cluster has only database 0"],
  ["redis://a:6379,b:6379", "must begin with redis://, rediss:// or unix://"],
])("%s is refused", (text, words) => {
  expect(() => parseRedisUrls(text)).toThrow(words);
});

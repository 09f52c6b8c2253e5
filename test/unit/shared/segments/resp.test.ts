import { crc32 } from "node:zlib";
import fc from "fast-check";
import { expect, test } from "vitest";
import { encodeCommands, type Reply, ReplyReader } from "../../../../services/shared/segments/redis/resp.ts";
import { zlibSums } from "../../../../services/shared/segments/sums.ts";

interface Where {
  readonly keep?: (index: number) => boolean;
  /** Where a body gets its second room, its third and so on. */
  readonly seams?: readonly number[];
  readonly more?: number;
}

/** Feeds `wire` in reads of at most `sizes[i]` bytes; bulk bytes go to fresh memory, or nowhere where `keep` says so. The last room is too long by `more`. */
function read(wire: Buffer, sizes: readonly number[], { keep = () => true, seams = [], more = 0 }: Where = {}) {
  const replies: Reply[] = [];
  const bodies: (Uint8Array | null)[] = [];
  const place = (length: number, at: number) => {
    if (at === 0) bodies.push(keep(bodies.length) ? new Uint8Array(length + more) : null);
    else expect(seams).toContain(at);
    const next = seams.find((seam) => seam > at);
    return bodies.at(-1)?.subarray(at, next) ?? null;
  };
  const reader = new ReplyReader(place, (reply) => replies.push(reply), zlibSums);
  for (let at = 0, turn = 0; at < wire.length; turn++) {
    const buffer = reader.buffer();
    if (buffer.length === 0) throw new Error("nowhere to read to");
    const count = Math.min(buffer.length, sizes[turn % sizes.length]!, wire.length - at);
    buffer.set(wire.subarray(at, at + count));
    reader.filled(count);
    at += count;
  }
  return { replies, bodies: bodies.map((bytes) => bytes?.subarray(0, bytes.length - more) ?? null) };
}

/** What went to the last room. */
const behindSeams = (bytes: Uint8Array, seams: readonly number[]) => bytes.subarray(seams.findLast((seam) => seam < bytes.length) ?? 0);

const bulk = (bytes: Uint8Array) => Buffer.concat([Buffer.from(`$${bytes.length}\r\n`), bytes, Buffer.from("\r\n")]);

test("replies are the same however the network cuts them, and discarded ones leave no trace", () => {
  const sizes = fc.array(fc.oneof(fc.integer({ min: 1, max: 20 }), fc.integer({ min: 1, max: 300_000 })), { minLength: 1, maxLength: 8 });
  const body = fc.oneof(
    fc.uint8Array({ maxLength: 30 }),
    fc.integer({ min: 0, max: 60_000 }).map((n) => new Uint8Array(n).fill(13)),
    fc
      .integer({ min: 100_000, max: 400_000 })
      .map((n) => Uint8Array.from(Buffer.alloc(n, "\r\n$-1:large enough to go straight to its place"))),
  );
  const seams = fc.array(fc.oneof(fc.integer({ min: 1, max: 25 }), fc.integer({ min: 1, max: 300_000 })), { maxLength: 3 });
  const places = fc.record({ seams: seams.map((all) => all.sort((a, b) => a - b)), more: fc.integer({ min: 0, max: 3 }) });
  fc.assert(
    fc.property(fc.array(body, { maxLength: 6 }), sizes, fc.integer({ min: 1, max: 3 }), places, (wanted, cuts, every, where) => {
      const keep = (index: number) => index % every === 0;
      const parts = wanted.flatMap((bytes, index) => [bulk(bytes), Buffer.from(["+OK\r\n", "$-1\r\n", "-ERR no\r\n"][index % 3]!)]);
      const { replies, bodies } = read(Buffer.concat(parts), cuts, { keep, ...where });
      const small: Reply[] = [{ kind: "status", text: "OK" }, { kind: "null" }, { kind: "error", text: "ERR no" }];
      const sum = (bytes: Uint8Array, index: number) => (keep(index) ? crc32(behindSeams(bytes, where.seams)) : 0);
      expect(replies).toEqual(
        wanted.flatMap((bytes, index) => [{ kind: "bulk", length: bytes.length, sum: sum(bytes, index) }, small[index % 3]]),
      );
      for (const [index, bytes] of wanted.entries()) {
        const got = bodies[index]!;
        expect(got === null ? !keep(index) : Buffer.compare(got, bytes) === 0, `body ${index}`).toBe(true);
      }
    }),
  );
});

test.each([
  ["a type we never ask for", "*1\r\n"],
  ["a number, which nothing of ours is answered with", ":5\r\n"],
  ["a length that is none", "$1x\r\n"],
  ["a negative length", "$-2\r\n"],
  ["a bulk larger than any piece", `$${1_048_576 + 136 + 1}\r\n`],
  ["more bytes than announced", "$2\r\nabcd+OK\r\n"],
  ["a line without an end", "+".repeat(20_000)],
  ["a line that is too long", `+${"x".repeat(2_046)}\r\n`],
])("%s ends the connection, however the network cuts it", (_, wire) => {
  for (const size of [1, 7, wire.length])
    expect(() => read(Buffer.from(wire), [size])).toThrow(expect.objectContaining({ reason: "protocol" }));
});

test("the largest piece with its header is a reply", () => {
  const bytes = Buffer.alloc(1_048_576 + 136, 1);
  expect(read(bulk(bytes), [70_000]).replies).toEqual([{ kind: "bulk", length: bytes.length, sum: crc32(bytes) }]);
});

test("the longest line is a reply, however the network cuts it", () => {
  const text = "x".repeat(2_045);
  const wire = Buffer.from(`-${text}\r\n+OK\r\n`);
  for (const size of [1, 2_047, wire.length]) {
    const { replies } = read(wire, [size]);
    expect(replies).toEqual([
      { kind: "error", text },
      { kind: "status", text: "OK" },
    ]);
  }
});

test("a reply is whole wherever it meets the end of the buffer, with what was read before behind it", () => {
  const buffer = new ReplyReader(
    () => null,
    () => {},
    zlibSums,
  ).buffer().length;
  const noise = Buffer.alloc(2 * buffer);
  for (let at = 0; at < noise.length; at += 4) noise.write(at % 3 === 0 ? "\r\n$1" : "\n\r\r\n", at, "latin1");
  for (let less = 0; less <= 40; less++) {
    const values = [noise.subarray(less, buffer), noise.subarray(0, 2 * buffer - less), noise.subarray(less, 2_000)];
    const wire = Buffer.concat(values.flatMap((bytes) => [bulk(bytes), Buffer.from("+5\r\n")]));
    const { replies, bodies } = read(wire, [buffer], { seams: [136, buffer - 136] });
    const expected = values.flatMap((bytes) => [
      { kind: "bulk", length: bytes.length, sum: crc32(behindSeams(bytes, [136, buffer - 136])) },
      { kind: "status", text: "5" },
    ]);
    expect(replies, `${less} less`).toEqual(expected);
    expect(bodies.every((bytes, index) => values[index]!.equals(bytes!))).toBe(true);
  }
});

test.each([
  ["in one piece where they are few", Uint8Array.of(13, 10, 0, 255), 1],
  ["and not copied where they are many", new Uint8Array(10_000).fill(10), 3],
])("commands' bytes are on the wire as they are, %s", (_, bytes, pieces) => {
  const chunks = encodeCommands([{ args: ["SET", "ä", bytes, "PX", "5"] }, { args: ["PING"] }]);
  expect(encodeCommands([{ args: ["SET", "ä", [bytes], "PX", "5"] }, { args: ["PING"] }])).toEqual(chunks);
  expect(chunks).toHaveLength(pieces);
  expect(chunks.includes(bytes)).toBe(pieces > 1);
  const wire = Buffer.concat([
    Buffer.from(`*5\r\n$3\r\nSET\r\n$2\r\nä\r\n$${bytes.length}\r\n`),
    bytes,
    Buffer.from("\r\n$2\r\nPX\r\n$1\r\n5\r\n*1\r\n$4\r\nPING\r\n"),
  ]);
  expect(Buffer.concat(chunks)).toEqual(wire);
});

test("an argument in parts is one argument, its small parts in one chunk with what is around them", () => {
  const [front, large] = [Uint8Array.of(1, 2, 3), new Uint8Array(9_000).fill(7)];
  const chunks = encodeCommands([{ args: ["SET", "a", [front, large]] }, { args: ["SET", "b", [front, front]] }]);
  expect(chunks).toEqual([
    Buffer.concat([Buffer.from("*3\r\n$3\r\nSET\r\n$1\r\na\r\n$9003\r\n"), front]),
    large,
    Buffer.concat([Buffer.from("\r\n*3\r\n$3\r\nSET\r\n$1\r\nb\r\n$6\r\n"), front, front, Buffer.from("\r\n")]),
  ]);
  expect(chunks[1]).toBe(large);
});

test("commands without bytes are one chunk, however many: one write", () => {
  const get = (key: string) => ({ args: ["GET", key] });
  expect(encodeCommands([get("a"), get("b")])).toEqual([Buffer.from("*2\r\n$3\r\nGET\r\n$1\r\na\r\n*2\r\n$3\r\nGET\r\n$1\r\nb\r\n")]);
});

test("a reply cut at any byte is the same reply", () => {
  const body = Buffer.alloc(2_500, "\r\n");
  const wire = Buffer.concat([
    bulk(body.subarray(0, 136)),
    bulk(body),
    Buffer.from("$-1\r\n"),
    bulk(Buffer.alloc(0)),
    Buffer.from("-ERR no\r\n"),
  ]);
  for (let cut = 1; cut < wire.length; cut++) {
    const { replies, bodies } = read(wire, [cut, wire.length], { seams: cut % 2 === 0 ? [] : [136] });
    expect(replies.map(({ kind }) => kind)).toEqual(["bulk", "bulk", "null", "bulk", "error"]);
    expect(bodies.map((bytes) => bytes!.length)).toEqual([136, body.length, 0]);
    expect(body.equals(bodies[1]!), `cut at ${cut}`).toBe(true);
  }
});

import fc from "fast-check";
import { expect, test } from "vitest";
import { batchRequest, newBatch } from "../../../services/api/files/batches.ts";
import { linesOf, PartReader, type RawLine } from "../../../services/batch/lines.ts";
import { PrefixOrder } from "../../../services/batch/order.ts";
import { sweepFiles } from "../../../services/batch/sweep.ts";
import { findAgain, validate } from "../../../services/batch/validate.ts";
import { type StoredFile, saveFile, storedFile } from "../../../services/shared/batches/file.ts";
import type { Bus } from "../../../services/shared/bus/contract.ts";
import { documentReader } from "../../../services/shared/bus/damage.ts";
import { openBus } from "../../../services/shared/bus/open.ts";
import { silentLog } from "../../../services/shared/runtime/log.ts";
import { openMetrics } from "../../../services/shared/runtime/metrics.ts";
import { chatLine, jsonLines } from "../../support/batches.ts";
import { never } from "../../support/bus.ts";
import { overriding } from "../../support/overriding.ts";

const bus: Bus = openBus({ url: "memory:" });
const noBeat = async () => {};
let files = 0;

/** A file of these bytes, cut into parts at these places. */
async function stored(bytes: Uint8Array, cuts: readonly number[]): Promise<StoredFile> {
  const places = [0, ...cuts.filter((cut) => cut < bytes.length).toSorted((a, b) => a - b), bytes.length];
  const id = `file-${++files}`;
  const parts = places.slice(1).map((end, i) => ({ key: `${id}.${i}`, bytes: bytes.subarray(places[i], end) }));
  for (const { key, bytes: part } of parts) await bus.files.put(key, part);
  const described = parts.map(({ key, bytes: part }) => ({ key, bytes: part.length }));
  return { id, filename: "f", purpose: "batch", bytes: bytes.length, createdAt: 0, expiresAt: 1, parts: described };
}

const cuts = fc.array(fc.nat(400), { maxLength: 8 });

test("lines come as they are, wherever the parts are cut, and are found again by their places", async () => {
  const text = fc.array(fc.oneof(fc.constantFrom("", " ", "\r", "\t \r"), fc.string({ unit: "grapheme", maxLength: 30 })), {
    maxLength: 20,
  });
  await fc.assert(
    fc.asyncProperty(text, cuts, async (pieces, places) => {
      const whole = pieces.join("\n");
      const file = await stored(Buffer.from(whole), places);
      const found: RawLine[] = [];
      for await (const line of linesOf(bus, file, 1_000_000, noBeat)) found.push(line);
      const expected = whole.split("\n").map((line, i) => ({ number: i + 1, line }));
      expect(found.map(({ number, bytes }) => ({ number, line: Buffer.from(bytes).toString("utf8") }))).toEqual(
        expected.filter(({ line }) => /[^ \t\r]/.test(line)),
      );
      const reader = new PartReader(bus, file, never);
      for (const { offset, bytes } of found.toReversed()) expect(Buffer.compare(await reader.read(offset, bytes.length), bytes)).toBe(0);
    }),
    { numRuns: 300 },
  );
});

test("lines that are begun at once ask for one part at a time, and for each once", async () => {
  const lines = 400;
  const file = await stored(
    Buffer.alloc(lines * 100, "yard "),
    Array.from({ length: 19 }, (_, i) => 2_000 * (i + 1)),
  );
  let asked = 0;
  let together = 0;
  let most = 0;
  const get = async (key: string) => {
    asked++;
    most = Math.max(most, ++together);
    const bytes = await bus.files.get(key);
    await new Promise(setImmediate);
    together--;
    return bytes;
  };
  const reader = new PartReader({ ...bus, files: overriding(bus.files, { get }) }, file, never);
  // As where each of twenty documents has a line in every part.
  const order = Array.from({ length: lines }, (_, i) => (i % 20) * 20 + Math.floor(i / 20));
  const read = await Promise.all(order.map((line) => reader.read(100 * line, 100)));
  expect(read.every((bytes) => bytes.length === 100)).toBe(true);
  expect({ most, asked }).toEqual({ most: 1, asked: 20 });
});

test("of a file's parts the eight last read are kept; one that could not be read is asked for again", async () => {
  const file = await stored(new Uint8Array(90), [10, 20, 30, 40, 50, 60, 70, 80]);
  const asked: string[] = [];
  let gone = true;
  const get = async (key: string) => {
    asked.push(key.slice(file.id.length + 1));
    return gone ? null : bus.files.get(key);
  };
  const reader = new PartReader({ ...bus, files: overriding(bus.files, { get }) }, file, never);
  const read = async (...parts: number[]) => {
    for (const part of parts) expect(await reader.read(10 * part, 10)).toHaveLength(10);
    return asked.splice(0).join(" ");
  };
  await expect(reader.read(0, 10)).rejects.toMatchObject({ code: "NOT_FOUND" });
  gone = false;
  expect(await read(0, 1, 2, 3, 4, 5, 6, 7)).toBe("0 0 1 2 3 4 5 6 7");
  expect(await read(0, 2, 3, 4, 5, 6, 7)).toBe("");
  expect(await read(8, 0, 1, 2)).toBe("8 1 2");
});

test("parts that wait for their turn are not read once nobody wants them", async () => {
  const file = await stored(new Uint8Array(90), [10, 20, 30]);
  const over = new AbortController();
  const asked: string[] = [];
  const get = async (key: string) => {
    asked.push(key);
    over.abort(new Error("the run is over"));
    return bus.files.get(key);
  };
  const reader = new PartReader({ ...bus, files: overriding(bus.files, { get }) }, file, over.signal);
  const [first, second] = await Promise.allSettled([reader.read(0, 10), reader.read(10, 10)]);
  expect([first.status, second.status, asked.length]).toEqual(["fulfilled", "rejected", 1]);
});

test("a line without end is given up at its bound, not read to its end", async () => {
  const file = await stored(new Uint8Array(5_000).fill(120), [1_000, 2_000, 3_000, 4_000]);
  await bus.files.delete(file.parts[4]!.key);
  await expect(linesOf(bus, file, 1_500, noBeat).next()).rejects.toMatchObject({ code: "TOO_LARGE" });
});

test("a line may be as long as its bound and no longer, wherever the parts are cut", async () => {
  const lines = ["a".repeat(10), "b".repeat(100), "c".repeat(10)];
  for (const places of [[], [50], [11], [110], [111], [112]]) {
    const file = await stored(Buffer.from(lines.join("\n")), places);
    const read = async (bound: number) => {
      const lengths: number[] = [];
      for await (const { bytes } of linesOf(bus, file, bound, noBeat)) lengths.push(bytes.length);
      return lengths;
    };
    expect(await read(100), `cut at ${places}`).toEqual([10, 100, 10]);
    await expect(read(99), `cut at ${places}`).rejects.toMatchObject({ code: "TOO_LARGE", message: expect.stringContaining("line 2 has") });
  }
});

test("lines whose prompts begin alike stand together, each group where its first line stood", () => {
  const document = (i: number) => `${"abc"[i]}`.repeat(5_000) + "common end".repeat(100);
  const order = (prompts: readonly string[]) => {
    const all = new PrefixOrder();
    for (const prompt of prompts) all.add(prompt);
    return [...all.take()];
  };
  const system = "You are kind. ".repeat(100); // shared by all: tells nothing
  expect(order([0, 1, 2, 0, 1, 2, 2, 0].map((d, i) => `${system}${document(d)}${i}`))).toEqual([0, 3, 7, 1, 4, 2, 5, 6]);
  expect(order(["x", "y", "x", "y"])).toEqual([0, 2, 1, 3]);
  const long = "z".repeat(300_000);
  expect(order([`${long}1`, "other", `${long}2`])).toEqual([0, 2, 1]);
  const many = Array.from({ length: 3_000 }, (_, i) => i);
  expect(order(many.map((i) => `${i % 2}`))).toEqual([...many.filter((i) => i % 2 === 0), ...many.filter((i) => i % 2 === 1)]);
});

type Fault = readonly [code: string, break_: (line: ReturnType<typeof chatLine>, first: string) => object | string];
const faults: readonly Fault[] = [
  ["invalid_json_line", () => '{"custom_id": '],
  ["invalid_json_line", () => "[1]"],
  ["missing_required_parameter", (line) => ({ ...line, custom_id: undefined })],
  ["missing_required_parameter", (line) => ({ ...line, custom_id: "" })],
  ["missing_required_parameter", (line) => ({ ...line, body: "text" })],
  ["missing_required_parameter", (line) => ({ ...line, body: { ...line.body, model: 5 } })],
  ["duplicate_custom_id", (line, first) => ({ ...line, custom_id: first })],
  ["invalid_method", (line) => ({ ...line, method: "get" })],
  ["invalid_url", (line) => ({ ...line, url: "/v1/completions" })],
  ["mismatched_model", (line) => ({ ...line, body: { ...line.body, model: "another" } })],
  ["unsupported_parameter", (line) => ({ ...line, body: { ...line.body, stream: true } })],
  ["invalid_value", (line) => ({ ...line, custom_id: "x".repeat(513) })],
];

test("every line at fault is named with its number and what is wrong, no other is, and a file without any is valid", async () => {
  const plan = fc.array(fc.record({ blanks: fc.nat(2), fault: fc.option(fc.nat(faults.length - 1), { freq: 3 }) }), {
    minLength: 1,
    maxLength: 25,
  });
  await fc.assert(
    fc.asyncProperty(plan, cuts, async (lines, places) => {
      const written: (object | string)[] = [chatLine("first", "f")];
      const expected: [string, number][] = [];
      for (const [i, { blanks, fault }] of lines.entries()) {
        written.push(...Array<string>(blanks).fill(""));
        const line = chatLine(`line ${i}`, "x".repeat(i));
        if (fault !== null) expected.push([faults[fault]![0], written.length + 1]);
        written.push(fault === null ? line : faults[fault]![1](line, "first"));
      }
      const file = await stored(Buffer.from(jsonLines(written)), places);
      const { index, problems } = await validate(bus, { endpoint: "/v1/chat/completions" }, file, "yardlog", 1_000_000, noBeat);
      expect(problems.map(({ code, line }) => [code, line])).toEqual(expected);
      if (expected.length > 0) return;
      expect([index.count, index.model]).toEqual([1 + lines.length, "yardlog"]);
      expect([...index.order].toSorted((a, b) => a - b)).toEqual([...index.order.keys()]);
    }),
    { numRuns: 200 },
  );
});

test.each([
  ["names of models", (i: number) => chatLine(`${i}`, "", { model: i === 0 ? "\u0001".repeat(100_000) : "other" })],
  ["custom ids", () => chatLine("\u0001".repeat(512), "")],
])("however long %s are, what is told of them is short, and so is what is kept of the batch", async (_, line) => {
  const file = await stored(Buffer.from(jsonLines(Array.from({ length: 102 }, (_, i) => line(i)))), []);
  const { problems } = await validate(bus, { endpoint: "/v1/chat/completions" }, file, "yardlog", 1_000_000, noBeat);
  expect(problems).toHaveLength(100);
  const metadata = Object.fromEntries(Array.from({ length: 16 }, (_, i) => [`${"\u0001".repeat(62)}${i + 10}`, "\u0001".repeat(512)]));
  const asked = batchRequest.parse({ input_file_id: file.id, endpoint: "/v1/chat/completions", completion_window: "24h", metadata });
  const batch = newBatch("batch_00000000000000000000", "tenant", asked, 0);
  expect(Buffer.byteLength(JSON.stringify({ ...batch, problems }))).toBeLessThan(100_000);
});

test("a model that is not served fails every line, and what was found valid before stays valid, whatever is allowed by now", async () => {
  const file = await stored(Buffer.from(jsonLines([chatLine("a", "1"), "", chatLine("a", "2".repeat(5_000))])), [100]);
  const { problems } = await validate(bus, { endpoint: "/v1/chat/completions" }, file, "other", 1_000_000, noBeat);
  expect(problems.map(({ code, line }) => [code, line])).toEqual([
    ["model_not_found", 1],
    ["duplicate_custom_id", 3],
  ]);
  const again = await findAgain(bus, { total: 2 }, file, noBeat);
  expect([again.problems, [...again.index.numbers], [...again.index.order]]).toEqual([[], [1, 3], [0, 1]]);
  expect((await findAgain(bus, { total: 3 }, file, noBeat)).problems).toMatchObject([{ code: "file_changed" }]);
  await bus.files.delete(file.parts[1]!.key);
  expect((await findAgain(bus, { total: 2 }, file, noBeat)).problems).toMatchObject([{ code: "file_not_found" }]);
});

test("50,000 lines are taken, one more is not; a hundred problems are told", async () => {
  const lines = Array.from({ length: 50_001 }, (_, i) => JSON.stringify(chatLine(`${i}`, "x")));
  const look = async (some: readonly string[]) =>
    validate(
      bus,
      { endpoint: "/v1/chat/completions" },
      await stored(Buffer.from(some.join("\n")), [500_000]),
      "yardlog",
      1_000_000,
      noBeat,
    );
  const valid = await look(lines.slice(1));
  expect([valid.problems, valid.index.count]).toEqual([[], 50_000]);
  expect((await look(lines)).problems.map(({ code }) => code)).toEqual(["file_too_large"]);
  expect((await look(Array(500).fill("{"))).problems).toHaveLength(100);
});

test("files whose life is over go, with their parts, unless a batch still reads them", async () => {
  const swept = openBus({ url: "memory:" });
  for (const [id, expiresAt] of [
    ["old", 10],
    ["read", 10],
    ["young", 30],
  ] as const) {
    await swept.files.put(`part of ${id}`, Uint8Array.of(1));
    const parts = [{ key: `part of ${id}`, bytes: 1 }];
    await saveFile(swept, "tenant", { id, filename: "f", purpose: "batch", bytes: 1, createdAt: 0, expiresAt, parts });
  }
  await swept.documents.put("file", "tenant", "file-junk", "{", 0); // costs nobody else anything
  const deps = { bus: swept, log: silentLog, readable: documentReader(silentLog, openMetrics()), stopping: never };
  await sweepFiles(deps, new Set(["read"]), 20_000);
  const left = async (id: string) =>
    [await storedFile(swept, "tenant", id), await swept.files.get(`part of ${id}`)].map((found) => found !== null);
  expect(await Promise.all(["old", "read", "young"].map(left))).toEqual([
    [false, false],
    [true, true],
    [true, true],
  ]);
});

import { mkdtempSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Worker } from "node:worker_threads";
import { afterAll, afterEach, describe, expect, test } from "vitest";
import { native } from "../../services/shared/engine/kernels/native.ts";
import {
  adoptBuffer,
  bytesIn,
  createBuffer,
  createPage,
  floats,
  listPaths,
  liveHandles,
  mapFile,
  type NativeBuffer,
  openBackend,
  tensor,
} from "../../services/shared/engine/kernels.ts";
import { seededRandom } from "../../services/shared/runtime/random.ts";
import { createList, from, releaseAll, zeros } from "../support/kernels/owned.ts";

const seed = Number(process.env.SEED ?? Math.floor(Math.random() * 2 ** 31));
const backend = openBackend({ path: "reference", threads: 2 });
const stream = backend.createStream();
const folder = mkdtempSync(join(tmpdir(), "longshore-kernels-"));
afterEach(releaseAll);
afterAll(() => {
  stream.release();
  backend.close();
  rmSync(folder, { recursive: true });
});

/** The wait tells once what is wrong with the call, in these words, and the stream works again. */
function refused(call: () => void, words: RegExp): void {
  call();
  expect(() => stream.wait()).toThrow(words);
  stream.wait();
}

describe("a refused operation", () => {
  const x = () => from("F32", [2, 3], Float32Array.of(1, 2, 3, 4, 5, 6));

  test("names the operand whose shape does not fit, and what would", () => {
    refused(
      () => stream.linear({ x: x(), w: zeros("F32", [4, 5]), scale: null, y: zeros("F32", [2, 4]), groups: 1 }),
      /w is \[4, 5\], expected \[g\*N = 4, 3\]/,
    );
    refused(() => stream.rmsNorm({ x: x(), w: null, y: zeros("F32", [3, 2]), eps: 1e-6 }), /y is \[3, 2\], expected \[R = 2, C = 3\]/);
  });

  test("names the dtype", () => {
    refused(
      () => stream.rmsNorm({ x: x(), w: null, y: zeros("BF16", [2, 3]), eps: 1e-6 }),
      /y is BF16, but the call's activations are F32/,
    );
    refused(() => stream.cast({ x: zeros("I32", [2]), y: zeros("F32", [2]) }), /x cannot be I32/);
    refused(() => stream.linear({ x: x(), w: zeros("F8_E4M3", [4, 3]), scale: null, y: zeros("F32", [2, 4]), groups: 1 }), /need a scale/);
  });

  test("names the index that points outside", () => {
    const table = zeros("F32", [4, 3]);
    refused(
      () => stream.embed({ ids: from("I32", [2], Int32Array.of(0, 4)), table, streams: zeros("F32", [2, 1, 3]) }),
      /ids\[1\] = 4 is not in \[0, 4\)/,
    );
    refused(() => stream.gather({ x: x(), rows: from("I32", [1], Int32Array.of(-1)), y: zeros("F32", [1, 3]) }), /rows\[0\] = -1/);
    const call = {
      logits: zeros("F32", [1, 4]),
      bias: null,
      ids: from("I32", [1], Int32Array.of(0)),
      idx: zeros("I32", [1, 1]),
      weights: zeros("F32", [1, 1]),
    };
    refused(() => stream.route({ ...call, table: from("I64", [1, 1], BigInt64Array.of(9n)), routedScaling: 1 }), /expert 9 of 4/);
  });

  test("names the parameter", () => {
    refused(() => stream.rmsNorm({ x: x(), w: null, y: zeros("F32", [2, 3]), eps: Number.NaN }), /eps is not a number/);
    refused(() => stream.windowPut({ entries: zeros("U8", [1, 4]), ring: zeros("U8", [2, 4]), start: -1 }), /start/);
    refused(() => stream.add({ a: x(), b: x(), y: zeros("F32", [2, 3]), repeat: 2 }), /r rows/);
  });

  test("is one whose output overlaps an operand", () => {
    const t = x();
    refused(() => stream.gather({ x: t, rows: from("I32", [2], Int32Array.of(0, 1)), y: t }), /y overlaps x/);
    stream.rmsNorm({ x: t, w: null, y: t, eps: 1e-6 });
    stream.wait();
  });

  test("is one that reaches outside its buffer, or writes to a mapped file", () => {
    const [short, path] = [createBuffer(16), join(folder, "weights")];
    writeFileSync(path, new Uint8Array(64));
    const mapped = mapFile(path);
    refused(() => stream.cast({ x: tensor(short, "F32", [4], 4), y: zeros("F32", [4]) }), /ends outside its buffer of 16 bytes/);
    refused(() => stream.cast({ x: zeros("F32", [4]), y: tensor(mapped, "F32", [4]) }), /read-only/);
    refused(() => stream.cast({ x: zeros("F32", [4]), y: tensor(short, "BF16", [4], 1) }), /not aligned/);
    mapped.release();
    short.release();
  });

  test("is one whose pages are too few or too short", () => {
    const list = createList();
    list.append(zeros("U8", [15]));
    const call = { iq: zeros("U8", [1, 1, 16]), iw: zeros("F32", [1, 1]), keys: list, sel: zeros("I32", [1, 1]), scores: null };
    const where = { start: 0, m: 1, keyLayout: "f32", dim: 4, pageOffset: 0, rowsPerPage: 1, scale: 1 } as const;
    refused(() => stream.select({ ...call, ...where }), /page 0 of 15 bytes is too small/);
    refused(() => stream.select({ ...call, ...where, start: 1 }), /only 1 pages/);
  });

  test.each([
    ["its shape", () => stream.cast({ x: x(), y: zeros("F32", [3, 2]) }), /y is \[3, 2\], expected/],
    ["what it names", () => stream.gather({ x: x(), rows: from("I32", [1], Int32Array.of(2)), y: zeros("F32", [1, 3]) }), /rows\[0\] = 2/],
    [
      "what no call can be",
      () => stream.cast({ x: tensor(zeros("F32", [1]).buffer, "F32", [1], -4), y: zeros("F32", [1]) }),
      /offset = -4/,
    ],
  ])("for %s keeps later ones from running until wait, however many they are", (_, wrong, words) => {
    const [y, one] = [zeros("F32", [1, 1]), from("F32", [1, 1], Float32Array.of(1))];
    const count = () => stream.add({ a: y, b: one, y, repeat: 1 });
    wrong();
    count();
    expect(() => stream.wait()).toThrow(words);
    wrong();
    expect(() => {
      for (let i = 0; i < 10_000; i++) count();
    }).toThrow(words);
    for (let i = 0; i < 3; i++) count(); // behind the call that told it
    expect(() => stream.wait()).toThrow(words);
    expect(Array.from(floats(y))).toEqual([0]);
    count();
    stream.wait();
    expect(Array.from(floats(y))).toEqual([1]);
  });

  test("can be asked for beforehand", () => {
    const call = { x: x(), w: zeros("F32", [4, 3]), scale: null, y: zeros("F32", [2, 4]) };
    expect(backend.unsupported("linear", { ...call, groups: 1 })).toBeNull();
    expect(backend.unsupported("linear", { ...call, groups: 2 })).toMatch(/g/);
  });
});

describe("the addon refuses what JavaScript can get wrong", () => {
  const { native: n, library } = native();
  const code = (call: () => unknown) => {
    try {
      call();
    } catch (thrown) {
      return (thrown as { code?: string }).code;
    }
    return "no error";
  };

  test("ids that are stale, foreign, fractional or of another kind", () => {
    const buffer = n.bufferCreate(library, 8);
    expect(code(() => n.wait(buffer))).toBe("LS_INVALID");
    n.release(buffer);
    for (const id of [buffer, 0, -1, 1.5, Number.NaN, 2 ** 60]) {
      expect(code(() => n.release(id))).toBe("LS_INVALID");
      expect(code(() => n.bufferView(id, 0, 1))).toBe("LS_INVALID");
    }
    expect(code(() => n.release("1" as unknown as number))).toBe("LS_INVALID");
  });

  test("commands that lie about their length, and detached arrays", () => {
    const handle = n.open(library, "reference", 1);
    const s = n.streamCreate(handle);
    for (const numbers of [[20], [20, 1, 0], [20, 1e9, 0], [99, 0, 0], [-1, 0, 0], [20, 0, 1]]) {
      expect(
        code(() => n.enqueue(s, Float64Array.from(numbers), numbers.length)),
        `[${numbers}]`,
      ).toBe("LS_INVALID");
    }
    expect(code(() => n.enqueue(s, new Float64Array(3), 4))).toBe("LS_INVALID");
    const detached = new Float64Array(3);
    structuredClone(detached.buffer, { transfer: [detached.buffer] });
    expect(code(() => n.enqueue(s, detached, 3))).toBe("LS_INVALID");
    expect(code(() => n.enqueue(s, new Float32Array(3) as unknown as Float64Array, 3))).toBe("LS_INVALID");
    n.release(s);
    n.release(handle);
  });

  test("views outside a buffer, sizes beyond memory, files that are not there, paths that are not known", () => {
    const buffer = n.bufferCreate(library, 8);
    expect(code(() => n.bufferView(buffer, 4, 5))).toBe("LS_INVALID");
    n.release(buffer);
    expect(code(() => n.bufferCreate(library, 2 ** 50))).toBe("LS_MEMORY");
    expect(code(() => n.bufferMap(library, join(folder, "none")))).toBe("LS_IO");
    expect(code(() => n.bufferMap(library, folder))).toBe("LS_IO");
    expect(code(() => n.open(library, "abacus", 1))).toBe("LS_INVALID");
    expect(code(() => n.open(library, "reference", 0))).toBe("LS_INVALID");
    expect(code(() => n.load(join(folder, "none.so")))).toBe("LS_IO");
  });

  test("a place without room for three numbers, and then no page is made", () => {
    const before = liveHandles();
    const detached = new Float64Array(3);
    structuredClone(detached.buffer, { transfer: [detached.buffer] });
    for (const place of [new Float64Array(2), detached, new Float32Array(3), [0, 0, 0], null])
      expect(code(() => n.pageCreate(library, 52_000, false, place as Float64Array))).toBe("LS_INVALID");
    expect(liveHandles()).toBe(before);
  });

  test("a path that cannot run here says why", () => {
    for (const path of listPaths()) expect(path.available ? path.reason === "" : path.reason.length > 10, path.name).toBe(true);
  });
});

describe("memory", () => {
  test("a view outlives the buffer's last reference, and new memory is zero", () => {
    const before = liveHandles();
    const buffer = createBuffer(1000);
    const bytes = buffer.bytes;
    bytes[999] = 7;
    buffer.release();
    buffer.release();
    expect(liveHandles()).toBe(before);
    expect(bytes.subarray(0, 999).every((byte) => byte === 0)).toBe(true);
    expect(bytes[999]).toBe(7);
    expect(() => buffer.handle).toThrow(/released/);
  });

  test("pages that live share no byte and see no other's, whatever was released before, and are zero where asked for", () => {
    const before = liveHandles();
    const live: { readonly page: NativeBuffer; readonly mark: number }[] = [];
    const random = seededRandom(seed);
    for (let turn = 0; turn < 2_000; turn++) {
      const page = createPage([52_000, 4_096, 700_000, 0, 100][random.u32() % 5]!, turn % 2 === 0);
      if (turn % 2 === 0) expect(Buffer.compare(page.bytes, Buffer.alloc(page.size)), `SEED=${seed} turn ${turn}`).toBe(0);
      const mark = random.u32() % 256;
      page.bytes.fill(mark);
      live.push({ page, mark });
      while (live.length > random.u32() % 50) {
        const [{ page, mark }] = live.splice(random.u32() % live.length, 1) as [(typeof live)[number]];
        expect(Buffer.compare(page.bytes, Buffer.alloc(page.size, mark)), `SEED=${seed} turn ${turn}`).toBe(0);
        page.release();
      }
    }
    for (const { page } of live) page.release();
    expect(liveHandles()).toBe(before);
  });

  test("a stray write to a mapped file's view does not reach the file", () => {
    const path = join(folder, "mapped");
    writeFileSync(path, Uint8Array.of(1, 2, 3));
    const mapped = mapFile(path);
    mapped.bytes[0] = 9;
    const again = mapFile(path);
    expect(Array.from(again.bytes)).toEqual([1, 2, 3]);
    mapped.release();
    again.release();
  });

  test("a file larger than any array is looked at in pieces", () => {
    const path = join(folder, "large");
    writeFileSync(path, "");
    truncateSync(path, 20e9);
    const mapped = mapFile(path);
    expect(mapped.size).toBe(20e9);
    expect(mapped.view(15e9, 3)).toEqual(new Uint8Array(3));
    expect(() => mapped.bytes).toThrow(/at most 2 GiB/);
    expect(() => mapped.view(20e9 - 1, 2)).toThrow(/outside/);
    mapped.release();
  });

  test("an empty file and an empty buffer are fine", () => {
    const path = join(folder, "empty");
    writeFileSync(path, "");
    for (const buffer of [mapFile(path), createBuffer(0)]) {
      expect(buffer.bytes.length).toBe(0);
      buffer.release();
    }
  });

  test("a list keeps its buffers alive", () => {
    const experts = createList();
    const y = zeros("F32", [1, 1]);
    for (let i = 0; i < 3; i++) {
      const w = from("F32", [1, 1], Float32Array.of(1));
      experts.append(w);
      experts.append(null);
      w.buffer.release();
    }
    stream.experts({ x: from("F32", [1, 1], Float32Array.of(1)), idx: null, weights: null, experts, y, limit: 10 });
    stream.wait();
    expect(floats(y)[0]).toBeCloseTo(1 / (1 + Math.exp(-1)), 6);
  });

  test("a step of any number of operations needs one wait, and each finds what those before it left", () => {
    const [y, one] = [zeros("F32", [1, 1]), from("F32", [1, 1], Float32Array.of(1))];
    for (let i = 0; i < 600_000; i++) stream.add({ a: y, b: one, y, repeat: 1 });
    stream.wait();
    expect(Array.from(floats(y))).toEqual([600_000]);
  });

  test("an operand that is released before wait lives for the calls that crossed, and is refused to the last ones", () => {
    const [y, one] = [zeros("F32", [1, 1]), from("F32", [1, 1], Float32Array.of(1))];
    for (let i = 0; i < 100; i++) stream.add({ a: y, b: one, y, repeat: 1 });
    one.buffer.release();
    expect(() => stream.wait()).toThrow(/there is no handle/);
    const crossed = floats(y)[0];
    expect(crossed).toBeGreaterThan(0);
    expect(crossed).toBeLessThan(100);
    stream.wait();
  });

  test("a buffer crosses threads as a number", async () => {
    const addon = join(import.meta.dirname, "../../build/kernels/longshore.node");
    const code = `
      const { parentPort, workerData } = require("node:worker_threads");
      const addon = require(workerData.addon);
      const view = new Uint8Array(addon.bufferView(workerData.buffer, 0, 4));
      view[3] = view[2] + 1;
      const made = addon.bufferCreate(workerData.library, 8);
      new Uint8Array(addon.bufferView(made, 0, 8)).fill(5);
      addon.release(workerData.buffer);
      parentPort.postMessage(made);`;
    const t = from("U8", [4], Uint8Array.of(1, 2, 3, 0));
    const worker = new Worker(code, { eval: true, workerData: { addon, buffer: t.buffer.lend(), library: native().library } });
    const [made] = await Promise.all([
      new Promise<number>((resolve, reject) => worker.once("message", resolve).once("error", reject)),
      new Promise((resolve) => worker.once("exit", resolve)),
    ]);
    const adopted = adoptBuffer(made);
    expect(Array.from(bytesIn(t))).toEqual([1, 2, 3, 4]);
    expect(Array.from(adopted.bytes)).toEqual([5, 5, 5, 5, 5, 5, 5, 5]);
    adopted.release();
  });
});

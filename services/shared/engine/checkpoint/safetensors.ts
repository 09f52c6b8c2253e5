import { closeSync, fstatSync, openSync, readSync } from "node:fs";
import { basename } from "node:path";
import { ServingError } from "../../runtime/errors.ts";
import { isFields } from "../../runtime/json.ts";

/** A safetensors file as its header describes it (spec 4.1). The data was not read. */
export interface Shard {
  readonly path: string;
  readonly fileBytes: number;
  /** The header's JSON, byte for byte. */
  readonly header: Uint8Array;
  /** In the order of their data. */
  readonly tensors: readonly StoredTensor[];
}

export interface StoredTensor {
  readonly name: string;
  readonly dtype: StoredDtype;
  readonly shape: readonly number[];
  /** In bytes from the start of the file. */
  readonly offset: number;
  readonly bytes: number;
}

export type StoredDtype = keyof typeof dtypeBytes;

const dtypeBytes = {
  BOOL: 1,
  U8: 1,
  I8: 1,
  F8_E4M3: 1,
  F8_E5M2: 1,
  F8_E8M0: 1,
  U16: 2,
  I16: 2,
  F16: 2,
  BF16: 2,
  U32: 4,
  I32: 4,
  F32: 4,
  U64: 8,
  I64: 8,
  F64: 8,
} as const;

/** Bytes of a tensor stored as `dtype`. */
export const storedBytes = (dtype: StoredDtype, shape: readonly number[]): number =>
  shape.reduce((product, extent) => product * extent, dtypeBytes[dtype]);

/** The format's own limit. V4-Pro's largest header has 300 KB. */
const HEADER_BYTES_MAX = 100_000_000;
const LENGTH_BYTES = 8;

/** Throws BAD_CHECKPOINT, with file, tensor and numbers, for anything a sound file cannot contain. */
export function readShard(path: string): Shard {
  const file = openFile(path);
  try {
    const fileBytes = fstatSync(file).size;
    const header = readHeader(file, fileBytes, path);
    const start = LENGTH_BYTES + header.length;
    const entries = Object.entries(parseHeader(header, path)).filter(([name]) => name !== "__metadata__");
    const tensors = entries
      .map(([name, entry]) => storedTensor(name, entry, start, path))
      .sort((a, b) => a.offset - b.offset || a.bytes - b.bytes);
    checkSpans(tensors, fileBytes, path);
    return { path, fileBytes, header, tensors };
  } finally {
    closeSync(file);
  }
}

/** Fills `buffer` from byte `offset` of the file on. Throws BAD_CHECKPOINT for a short read. */
export function readInto(buffer: Buffer, file: number, offset: number, path: string): void {
  let done = 0;
  while (done < buffer.length) {
    const count = readSync(file, buffer, done, buffer.length - done, offset + done);
    if (count === 0) throw bad(path, `ends at byte ${offset + done}, expected ${offset + buffer.length}: the file is cut off`);
    done += count;
  }
}

function readAt(file: number, offset: number, bytes: number, path: string): Buffer {
  const buffer = Buffer.alloc(bytes);
  readInto(buffer, file, offset, path);
  return buffer;
}

export function openFile(path: string): number {
  try {
    return openSync(path, "r");
  } catch (cause) {
    throw new ServingError("BAD_CHECKPOINT", `${basename(path)}: ${(cause as Error).message}`, { cause });
  }
}

function readHeader(file: number, fileBytes: number, path: string): Buffer {
  if (fileBytes < LENGTH_BYTES) throw bad(path, `${fileBytes} bytes long, too short for a safetensors file: the file is cut off`);
  const length = readAt(file, 0, LENGTH_BYTES, path).readBigUInt64LE();
  if (length <= BigInt(Math.min(HEADER_BYTES_MAX, fileBytes - LENGTH_BYTES))) return readAt(file, LENGTH_BYTES, Number(length), path);
  if (readAt(file, 0, Math.min(fileBytes, 24), path).toString("latin1").startsWith("version https://git-lfs"))
    throw bad(path, "is a Git LFS pointer, not the weights: run `git lfs pull` in the model's folder");
  throw bad(
    path,
    `its header claims ${length} bytes, but the file has ${fileBytes} and a header at most ${HEADER_BYTES_MAX}: cut off, or not safetensors`,
  );
}

function parseHeader(header: Buffer, path: string): Readonly<Record<string, unknown>> {
  const text = header.toString("utf8");
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (cause) {
    throw bad(path, `its header is not JSON: ${(cause as Error).message}`);
  }
  if (!isFields(json)) throw bad(path, "its header is not a JSON object");
  const described = text.match(/"data_offsets"\s*:\s*\[/g)?.length ?? 0;
  const kept = Object.keys(json).length - ("__metadata__" in json ? 1 : 0);
  if (described > kept) throw bad(path, `tensor ${repeatedName(text)} is described twice`);
  return json;
}

/** Finds the name that occurs twice: JSON.parse silently keeps the last of equal keys. */
function repeatedName(header: string): string {
  const seen = new Set<string>();
  for (const [, name] of header.matchAll(/"((?:[^"\\]|\\.)*)"\s*:\s*\{/g)) {
    if (seen.has(name!)) return name!;
    seen.add(name!);
  }
  return "(unknown)";
}

function storedTensor(name: string, entry: unknown, start: number, path: string): StoredTensor {
  const wrong = (problem: string) => bad(path, `tensor ${name}: ${problem}`);
  if (!isFields(entry)) throw wrong("its description is not an object");
  const { dtype, shape, data_offsets: span } = entry;
  if (!isDtype(dtype)) throw wrong(`dtype ${JSON.stringify(dtype)} is unknown`);
  if (!isExtents(shape)) throw wrong(`shape ${JSON.stringify(shape)} is not a list of sizes`);
  if (!isExtents(span) || span.length !== 2) throw wrong(`data_offsets ${JSON.stringify(span)} is not a pair of byte positions`);
  const [begin, end] = span as [number, number];
  const bytes = storedBytes(dtype, shape);
  if (end - begin !== bytes) throw wrong(`data_offsets ${begin}..${end} hold ${end - begin} bytes, but ${dtype} [${shape}] needs ${bytes}`);
  return { name, dtype, shape, offset: start + begin, bytes };
}

const isDtype = (value: unknown): value is StoredDtype => typeof value === "string" && Object.hasOwn(dtypeBytes, value);

const isExtents = (value: unknown): value is number[] =>
  Array.isArray(value) && value.every((extent) => Number.isSafeInteger(extent) && extent >= 0);

/** `tensors` ascend by offset. Holes are allowed. */
function checkSpans(tensors: readonly StoredTensor[], fileBytes: number, path: string): void {
  for (const [i, { name, offset }] of tensors.entries()) {
    const before = tensors[i - 1];
    if (before !== undefined && before.offset + before.bytes > offset)
      throw bad(
        path,
        `tensors ${before.name} and ${name} overlap: one ends at byte ${before.offset + before.bytes}, the other begins at ${offset}`,
      );
  }
  const last = tensors.at(-1);
  if (last !== undefined && last.offset + last.bytes > fileBytes)
    throw bad(path, `ends at byte ${fileBytes}, but tensor ${last.name} reaches to ${last.offset + last.bytes}: the file is cut off`);
}

const bad = (path: string, problem: string) => new ServingError("BAD_CHECKPOINT", `${basename(path)}: ${problem}`);

import { existsSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { type ErrorCode, ServingError } from "../../runtime/errors.ts";
import { packageRoot } from "../../runtime/package-root.ts";

/** What the addon exports (kernels/node). Handles are process-wide numbers, the same in every thread. */
export interface Native {
  load(path: string): number;
  name(library: number): string;
  paths(library: number): PathInfo[];
  open(library: number, path: string | null, threads: number): number;
  bufferCreate(library: number, bytes: number): number;
  /** Writes the page's place into `place`, as bufferPlace does. */
  pageCreate(library: number, bytes: number, zero: boolean, place: Float64Array): number;
  bufferMap(library: number, path: string): number;
  bufferBytes(buffer: number): number;
  bufferView(buffer: number, offset: number, length: number): ArrayBuffer;
  /** Writes into `place`: address and bytes of the region that holds the buffer, and the buffer's offset in it. */
  bufferPlace(buffer: number, place: Float64Array): void;
  wholeView(buffer: number): ArrayBuffer;
  retain(handle: number): void;
  release(handle: number): void;
  handleCount(): number;
  listCreate(library: number): number;
  listAppend(list: number, tensor: Float64Array, length: number): void;
  streamCreate(backend: number): number;
  /** Runs commands, encoded one after the other. Those after a refused one are dropped. */
  enqueue(stream: number, commands: Float64Array, length: number): void;
  wait(stream: number): void;
  supports(backend: number, command: Float64Array, length: number): string;
  tolerance(library: number, operation: number, output: number): number;
  /** CRC-32 as zlib's, continued from the sum `before`. */
  crc32(bytes: Uint8Array, before: number): number;
  /** Copies `count` bytes and returns their CRC-32, likewise. */
  copySummed(to: Uint8Array, at: number, from: Uint8Array, begin: number, count: number, before: number): number;
  /** Whether this processor has instructions for both; without them zlib's are faster. */
  readonly sumsFast: boolean;
}

/** One way of computing. `reason` tells people why it cannot run here; "" if it can. */
export interface PathInfo {
  readonly name: string;
  readonly available: boolean;
  readonly reason: string;
}

let loaded: { readonly native: Native; readonly library: number } | null = null;

/** The addon and the cpu backend, loaded once per thread. Throws UNAVAILABLE, with the command to run, if not built. */
export function native(): { readonly native: Native; readonly library: number } {
  if (loaded !== null) return loaded;
  const folder = join(packageRoot(), "build", "kernels");
  const addon = join(folder, "longshore.node");
  const backend = join(folder, "liblongshore_cpu.so");
  for (const file of [addon, backend]) {
    if (!existsSync(file)) throw new ServingError("UNAVAILABLE", `the kernels are not built (${file} is missing): run \`npm run build\``);
  }
  const exports = calling(() => createRequire(import.meta.url)(addon) as Native);
  loaded = { native: exports, library: calling(() => exports.load(backend)) };
  return loaded;
}

/** Runs a native call; turns what it throws into a ServingError that keeps the backend's words. */
export function calling<T>(call: () => T): T {
  try {
    return call();
  } catch (thrown) {
    const status = (thrown as { readonly code?: string }).code ?? "";
    throw new ServingError(codes[status] ?? "INTERNAL", `kernels: ${thrown instanceof Error ? thrown.message : String(thrown)}`, {
      cause: thrown,
    });
  }
}

const codes: Readonly<Record<string, ErrorCode>> = {
  LS_UNSUPPORTED: "UNAVAILABLE",
  LS_MEMORY: "OVERLOADED",
  LS_IO: "BAD_CHECKPOINT", // the only files a backend opens are weights
};

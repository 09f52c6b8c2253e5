/**
 * The one door to native code: backends, memory, tensors and operations (kernels/include/longshore/kernels.h), typed.
 */
import { refusal, ServingError } from "../runtime/errors.ts";
import { calling, type Native, native, type PathInfo } from "./kernels/native.ts";
import { type Arguments, COMMAND_NUMBERS, type Operation, operationNames, writeCommand } from "./kernels/operations.ts";

export { type KeyLayout, type KvLayout, keyBytes, keyLayouts, kvEntryBytes, kvLayouts } from "./kernels/layouts.ts";
export { adoptBuffer, createBuffer, createPage, liveHandles, mapFile, NativeBuffer } from "./kernels/memory.ts";
export type { PathInfo } from "./kernels/native.ts";
export { type Operation, operationNames } from "./kernels/operations.ts";
export {
  type Activation,
  bytesIn,
  bytesInLines,
  count,
  type Dtype,
  floats,
  from,
  ints,
  reshape,
  rows,
  type Tensor,
  TensorList,
  tensor,
  upload,
  zeros,
} from "./kernels/tensor.ts";

/** One opened path with its threads. */
export interface Backend {
  readonly path: string;
  createStream(): Stream;
  /** null, or why this call could not run. Looks at dtypes, shapes and parameters. */
  unsupported<O extends Operation>(operation: O, args: Arguments<O>): string | null;
  /** How output `output` (0 = the first) may differ from the reference path: not a bit, or by ls_tolerance's LS_REL. */
  tolerance(operation: Operation, output: number): "bits" | "rel";
  /** Ends the threads once the last stream is released. Idempotent. */
  close(): void;
}

/**
 * Operations run in the order they are called, as if one after the other. Until `wait` returns, operands must not be
 * released or written by anybody else, and results may not be there yet. A later call, or `wait`, reports what is wrong
 * with a call; calls made between the two never run. For one thread at a time.
 */
export type Stream = { readonly [O in Operation]: (args: Arguments<O>) => void } & {
  wait(): void;
  release(): void;
};

/** All paths the build knows, best last, with a reason for each that cannot run here. */
export function listPaths(): readonly PathInfo[] {
  const { native: n, library } = native();
  return calling(() => n.paths(library));
}

/** `path` as `choosePath` takes it; `threads` counts the calling thread. */
export function openBackend(options: { readonly path?: string | undefined; readonly threads: number }): Backend {
  const { native: n, library } = native();
  const path = choosePath(options.path, listPaths());
  const handle = calling(() => n.open(library, path, options.threads));
  const command = new Float64Array(COMMAND_NUMBERS);
  let closed = false;
  return {
    path,
    createStream: () => createStream(calling(() => n.streamCreate(handle))),
    unsupported(operation, args) {
      const length = writeCommand(command, 0, operation, args);
      return calling(() => n.supports(handle, command, length)) || null;
    },
    tolerance: (operation, output) => (n.tolerance(library, operationNames.indexOf(operation), output) === 0 ? "bits" : "rel"),
    close() {
      if (!closed) n.release(handle);
      closed = true;
    },
  };
}

export interface NativeSums {
  readonly of: Native["crc32"];
  readonly copy: Native["copySummed"];
}

/**
 * CRC-32 as zlib's, at the speed of memory; null on a processor without instructions for it.
 * Throws UNAVAILABLE where the kernels were not built.
 */
export function nativeSums(): NativeSums | null {
  const { crc32, copySummed, sumsFast } = native().native;
  return sumsFast ? { of: crc32, copy: copySummed } : null;
}

/**
 * The path of that name; without a name, the best available. Throws INVALID_REQUEST for an unknown path, or with the
 * reason why it cannot run here.
 */
export function choosePath(name: string | undefined, paths: readonly PathInfo[]): string {
  const available = paths.filter((path) => path.available);
  const chosen = name === undefined ? available.at(-1) : paths.find((path) => path.name === name);
  if (chosen?.available === true) return chosen.name;
  if (name === undefined) throw new ServingError("UNAVAILABLE", "no kernel path can run on this machine; `longshore doctor` says why");
  const why = chosen === undefined ? `there is no kernel path ${name}` : `kernel path ${name} cannot run here (${chosen.reason})`;
  throw refusal(`${why}: choose one of ${available.map((path) => path.name).join(", ")}`);
}

/** The warning for a worker that runs `path` without having chosen it; null unless that is the reference path. */
export function slowPathWarning(path: string, paths: () => readonly PathInfo[], processor: string): string | null {
  if (path !== "reference") return null;
  const others = paths()
    .filter(({ name }) => name !== path)
    .map(({ name, reason }) => `${name} (${reason})`);
  return (
    `the kernels run on the reference path, some 50 times slower than the others of this build, none of which runs here, on ${processor}: ` +
    `${others.join(", ") || "it has none"}. Build them on this machine (npm run build:kernels); \`longshore doctor\` lists the paths`
  );
}

/**
 * Calls of the largest kind per crossing into native code: a crossing costs more than writing a call down, and a larger
 * buffer would not stay in the L1 cache.
 */
const COMMANDS = 16;

function createStream(handle: number): Stream {
  const { native: n } = native();
  const commands = new Float64Array(COMMANDS * COMMAND_NUMBERS);
  let length = 0;
  let failure: { readonly error: unknown } | null = null;
  const flush = () => {
    if (failure !== null) throw failure.error;
    const ours = length;
    length = 0;
    try {
      if (ours > 0) calling(() => n.enqueue(handle, commands, ours));
    } catch (error) {
      failure = { error };
      throw error;
    }
  };
  const enqueue = (operation: Operation) => (args: Arguments<Operation>) => {
    if (length + COMMAND_NUMBERS > commands.length) flush();
    length = writeCommand(commands, length, operation, args);
  };
  let released = false;
  const stream = {
    ...Object.fromEntries(operationNames.map((operation) => [operation, enqueue(operation)])),
    wait() {
      try {
        flush();
      } finally {
        length = 0; // drops calls queued after a refused one
        failure = null;
        calling(() => n.wait(handle));
      }
    },
    release() {
      if (!released) n.release(handle);
      released = true;
    },
  };
  return Object.freeze(stream) as unknown as Stream;
}

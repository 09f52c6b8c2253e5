import { createRequire } from "node:module";
import { fileURLToPath } from "node:url";
import type * as Library from "@mlc-ai/web-xgrammar";

export type { CompiledGrammar, GrammarCompiler, GrammarMatcher } from "@mlc-ai/web-xgrammar";

export interface Xgrammar {
  readonly library: typeof Library;
  /** Bytes of its memory. */
  readonly size: number;
  /** The last thing it complained of, and forgets it. */
  complaint(): string;
  /** Whether its stack has come near its end since it was loaded: then its data may be damaged, and it must be used no more. */
  readonly overflown: boolean;
}

/**
 * xgrammar, compiled to WebAssembly for browsers. Only for a thread of its own, whose globals it takes and which it may take along:
 *
 * - the package says that it is a module, but is a script that needs `require` and leaves what it exports in a global;
 * - an error of the library is an abort, told on the console, after which nothing of it can be relied on;
 * - its stack of 64 KiB lies above its data, and nothing stops it from growing into them. So the last quarter is watched.
 */
export async function loadXgrammar(): Promise<Xgrammar> {
  const url = import.meta.resolve("@mlc-ai/web-xgrammar");
  const wasm = (globalThis as unknown as { readonly WebAssembly: Wasm }).WebAssembly;
  const { instantiate } = wasm;
  let memory: Memory | undefined;
  wasm.instantiate = async (...source) => {
    const made = await instantiate(...source);
    memory = Object.values(made.instance.exports).find((value): value is Memory => value instanceof wasm.Memory)!;
    watched(memory).fill(WATCH_WORD);
    return made;
  };
  let complaint = "";
  console.error = (line: unknown) => {
    if (String(line).startsWith("[FATAL]")) complaint = String(line);
  };
  Object.assign(globalThis, { require: createRequire(url), __filename: fileURLToPath(url) });
  await import(url);
  return {
    library: (globalThis as unknown as { readonly xgrammar: typeof Library }).xgrammar,
    get size() {
      return memory?.buffer.byteLength ?? 0;
    },
    complaint: () => {
      const words = complaint.replace(/^\[FATAL\] \S+ (Check failed: .* is false: )?/, "");
      complaint = "";
      return words;
    },
    get overflown() {
      return memory !== undefined && watched(memory).some((word) => word !== WATCH_WORD);
    },
  };
}

/** Of 0.1.27: its stack pointer begins at 136,512 and its data end 64 KiB below that. */
const STACK_END = 70_976;
const WATCHED_WORDS = 4_096;
const WATCH_WORD = 0x5a5a5a5a;

/** The memory may have grown, and then its buffer is another one. */
const watched = ({ buffer }: Memory): Uint32Array => new Uint32Array(buffer, STACK_END, WATCHED_WORDS);

interface Memory {
  readonly buffer: ArrayBuffer;
}

/** What of WebAssembly is used here: our types of Node have only its types. */
interface Wasm {
  instantiate(...source: readonly unknown[]): Promise<{ readonly instance: { readonly exports: Readonly<Record<string, unknown>> } }>;
  readonly Memory: new () => Memory;
}

import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { stat } from "node:fs/promises";
import { createInterface } from "node:readline";
import { refusal } from "../../shared/runtime/errors.ts";

/** The file of requests, as it was found when the command began. */
export interface Input {
  readonly path: string;
  readonly bytes: number;
  readonly digest: string;
}

/** A file alone: what can be read once, such as a pipe, would be sent empty. */
export async function readInput(path: string): Promise<Input> {
  const stats = await stat(path).catch(() => null);
  if (stats !== null && !stats.isFile() && !stats.isDirectory()) throw refusal(`${path} can be read only once; write its lines to a file`);
  const hash = createHash("sha256");
  let bytes = 0;
  for await (const chunk of contentOf(path)) {
    hash.update(chunk);
    bytes += chunk.length;
  }
  return { path, bytes, digest: hash.digest("hex") };
}

/** The bytes of the file, unless they are others by now. */
export async function* asFound({ path, bytes, digest }: Input): AsyncGenerator<Uint8Array> {
  const hash = createHash("sha256");
  let left = bytes;
  for await (const chunk of contentOf(path)) {
    left -= chunk.length;
    if (left < 0) break;
    hash.update(chunk);
    yield chunk;
  }
  if (left !== 0 || hash.digest("hex") !== digest) throw refusal(`${path} changed while it was being sent; nothing was started`);
}

/** All lines must have the same one: the batch is validated as a whole. */
export async function urlOfFirstLine(path: string): Promise<string> {
  const stream = createReadStream(path);
  let lacks = "it has no lines";
  try {
    for await (const line of createInterface({ input: stream })) {
      if (line.trim() === "") continue;
      const { url } = JSON.parse(line.trim()) as { url?: unknown }; // without a mark of byte order
      if (typeof url === "string") return url;
      lacks = "its first line has no url";
      break;
    }
  } catch (cause) {
    throw refusal(`${path}: its first line is not JSON: ${(cause as Error).message}`, { cause });
  } finally {
    stream.destroy();
  }
  throw refusal(`${path}: ${lacks}; \`longshore batch --help\` shows an example`);
}

async function* contentOf(path: string): AsyncGenerator<Uint8Array> {
  try {
    yield* createReadStream(path);
  } catch (cause) {
    throw refusal(`${path} cannot be read (${(cause as NodeJS.ErrnoException).code})`, { cause });
  }
}

import { createWriteStream, rmSync } from "node:fs";
import { rename, rm } from "node:fs/promises";
import { pipeline } from "node:stream/promises";
import { ServingError } from "../shared/runtime/errors.ts";
import { systemRandom } from "../shared/runtime/random.ts";
import { acrossAbsence, type OnAway } from "./absence.ts";
import type { Client } from "./client.ts";
import { leavable } from "./progress.ts";

/** Where a file is written until it is whole: of this process alone, as the same command may run twice. */
export const partOf = (path: string): string => `${path}.${systemRandom.id("")}.part`;

/** Fetches a file of the cluster, anew where the connection breaks. A file that is there is whole; nothing stays of one that is left with Ctrl-C. */
export async function download(client: Client, fileId: string, path: string, onAway: OnAway): Promise<void> {
  const part = partOf(path);
  const onInterrupt = () => {
    rmSync(part, { force: true });
    console.error(`${path} is not there yet; the same command again fetches it`);
  };
  try {
    await leavable(onInterrupt, async () => {
      await fetchTo(client, fileId, part, onAway);
      await rename(part, path);
    });
  } catch (cause) {
    await rm(part, { force: true });
    if (cause instanceof ServingError) throw cause;
    const { code } = cause as NodeJS.ErrnoException;
    throw new ServingError("UNAVAILABLE", `${path} cannot be written (${code}); the same command again fetches the answers`, { cause });
  }
}

async function fetchTo(client: Client, fileId: string, part: string, onAway: OnAway): Promise<void> {
  let bytesMost = 0;
  await acrossAbsence(async (cameFurther) => {
    let bytes = 0;
    const arriving = async function* () {
      for await (const chunk of client.read(`/v1/files/${fileId}/content`)) {
        onAway(null);
        bytes += chunk.length;
        if (bytes > bytesMost) cameFurther(); // else one that breaks off at the same place each time were fetched for ever
        bytesMost = Math.max(bytesMost, bytes);
        yield chunk;
      }
    };
    await pipeline(arriving, createWriteStream(part));
  }, onAway);
}

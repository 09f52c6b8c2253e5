import { readFile, rename, rm, writeFile } from "node:fs/promises";
import { refusal } from "../../shared/runtime/errors.ts";
import { partOf } from "../download.ts";

/** Kept beside the output until it is there: which batch it is of. The key makes the batch the same one, should its answer have been lost. */
export interface Ticket {
  readonly digest: string;
  readonly key: string;
  readonly fileId?: string;
  readonly batchId?: string;
}

/** Null if there is none, or one that came to nothing; that of another input's batch is a mistake that would lose answers. */
export async function readTicket(path: string, digest: string): Promise<Ticket | null> {
  const text = await readFile(path, "utf8").catch((cause: NodeJS.ErrnoException) => {
    if (cause.code === "ENOENT" || cause.code === "ENOTDIR") return null;
    throw refusal(`${path}, which says what was begun, cannot be read (${cause.code})`, { cause });
  });
  if (text === null) return null;
  const ticket = parsedTicket(path, text);
  if (ticket.digest === digest) return ticket;
  if (ticket.batchId === undefined) return null;
  throw refusal(`${path} belongs to the batch of another input; run the command with that input, or remove the file`);
}

function parsedTicket(path: string, text: string): Ticket {
  try {
    return JSON.parse(text) as Ticket;
  } catch (cause) {
    throw refusal(`${path} is not valid JSON, so the batch it recorded is unknown; remove it to start over`, { cause });
  }
}

/** Whole, whatever ends this process: without it the batch it names could not be found again. */
export async function writeTicket(path: string, ticket: Ticket): Promise<void> {
  const part = partOf(path);
  try {
    await writeFile(part, JSON.stringify(ticket));
    await rename(part, path);
  } catch (cause) {
    await rm(part, { force: true });
    throw refusal(`${path}, which records the batch, cannot be written: ${(cause as Error).message}`, { cause });
  }
}

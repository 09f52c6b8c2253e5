import type { Clock } from "../runtime/clock.ts";
import { isUnavailable, ServingError } from "../runtime/errors.ts";
import { onAbort } from "../runtime/pause.ts";
import { decodeLive } from "./codec.ts";
import { isTerminal, type LogRecord } from "./events.ts";
import type { Entry, Journal } from "./journal.ts";
import { Mailbox } from "./mailbox.ts";

/** Entries read at once: bounds what a reader of a long log holds in memory. */
export const PAGE = 512;
/**
 * Entries read one by one before a page is: most logs that are read are that short, and a page leaves something behind
 * in the record (nats-server before 2.10).
 */
const SINGLY = 32;
/** Announcements a reader may be behind before it reads the log instead. */
const MAILBOX = 256;
/** Silence on the live path before the log is asked; doubled while it has nothing new. */
const SILENCE_MS = 1_000;
const SILENCE_MS_MAX = 4_000;
/** The same for a reader that knows how the log begins: the log may have gone on, even ended, before it listened. */
const FIRST_SILENCE_MS = 50;

/** The event of an entry. Throws DAMAGED. */
type Decode = (jobId: string, entry: Entry) => LogRecord;

/**
 * The log in order from behind `position` on: live while every announcement names the one before as its predecessor;
 * read from the log after a gap, a silence, an interruption, or when this reader was too slow for its mailbox. Ends
 * with any of `signals`. `known`: the first records, if they are known; then nothing is asked before the live path had
 * its chance. Throws UNAVAILABLE if the log ends before `position`: it lost events that were read, and what comes in
 * their place would be passed over.
 */
export async function* follow(
  journal: Journal,
  decode: Decode,
  clock: Clock,
  jobId: string,
  after: number,
  signals: readonly AbortSignal[],
  known: readonly LogRecord[],
): AsyncGenerator<LogRecord> {
  const isOver = () => signals.some(({ aborted }) => aborted);
  const mailbox = new Mailbox<Uint8Array>(MAILBOX);
  const silence = journal.listen(jobId, (bytes) => (bytes === null ? mailbox.miss() : mailbox.put(bytes)));
  const deaf = onAbort(signals, () => mailbox.miss());
  let position = after;
  let silenceMs = known.length === 0 ? SILENCE_MS : FIRST_SILENCE_MS;
  const heard = async () => next(jobId, await mailbox.take(clock, silenceMs));
  try {
    for (const record of known) {
      if (isOver()) return;
      position = record.sequence;
      yield record;
    }
    for (let live = known.length === 0 ? null : await heard(); !isOver(); live = await heard()) {
      if (live !== null && live.sequence <= position) continue;
      const before = position;
      for await (const record of live !== null && live.previous === position ? [live] : stored(journal, decode, jobId, position)) {
        if (record === "over" || isOver()) return;
        if (record === "lost") throw lost(jobId);
        position = record.sequence;
        yield record;
        if (isTerminal(record.event)) return;
      }
      silenceMs = position > before ? SILENCE_MS : Math.max(SILENCE_MS, Math.min(2 * silenceMs, SILENCE_MS_MAX));
    }
  } finally {
    deaf();
    silence();
  }
}

/** The records after a sequence up to `end`, as far as the journal shows them at the moment. */
export async function* upTo(journal: Journal, decode: Decode, end: LogRecord, after: number): AsyncGenerator<LogRecord> {
  const { jobId } = end;
  let position = after;
  for (let reads = 0; position < end.sequence && position < end.previous; reads++) {
    const page = await journal.page(jobId, position, reads < SINGLY ? 1 : PAGE);
    for (const entry of page) yield decode(jobId, entry);
    position = page.at(-1)?.sequence ?? end.sequence;
  }
  if (position < end.sequence) yield end;
}

const lost = (jobId: string) =>
  new ServingError(
    "UNAVAILABLE",
    `the record lost events of ${jobId} that were read already, in a power cut or when it was restored: read it from its beginning`,
  );

/**
 * What the log has after `position` now; nothing while the record is away; "over" if the job was deleted or ended
 * there; "lost" if the log ends before.
 */
async function* stored(journal: Journal, decode: Decode, jobId: string, position: number): AsyncGenerator<LogRecord | "over" | "lost"> {
  try {
    const glanced = await journal.glance(jobId);
    const last = position > (glanced?.sequence ?? 0) ? await journal.last(jobId) : glanced; // a replica may be a moment behind
    const end = last === null ? null : decode(jobId, last);
    if (end !== null && end.sequence > position) yield* upTo(journal, decode, end, position);
    else if (end !== null && end.sequence < position) yield "lost";
    else if (end === null ? position > 0 : isTerminal(end.event)) yield "over";
  } catch (thrown) {
    if (!isUnavailable(thrown)) throw thrown;
  }
}

/** A damaged announcement is no announcement. */
function next(jobId: string, bytes: Uint8Array | null): LogRecord | null {
  try {
    return bytes === null ? null : decodeLive(jobId, bytes);
  } catch {
    return null;
  }
}

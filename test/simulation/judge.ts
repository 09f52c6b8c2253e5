import { decodeRecord } from "../../services/shared/bus/codec.ts";
import type { WorkItem } from "../../services/shared/bus/contract.ts";
import { isTerminal, type JobEvent, type LogRecord, type Phase } from "../../services/shared/bus/events.ts";

type Touch = "working" | "ack" | "nak";

/** What an accepted event permits its writer to do to the message, once. */
const permitted: Readonly<Record<JobEvent["type"], readonly Touch[]>> = {
  submitted: [],
  claimed: [],
  progress: ["working"],
  tokens: ["working"],
  handed_over: ["ack"],
  sent_back: ["ack"],
  released: ["nak", "ack"],
  finished: ["ack"],
  failed: ["ack"],
  cancelled: ["ack"],
  expired: ["ack"],
};

interface Stored {
  readonly record: LogRecord;
  readonly writer: string;
  readonly storedMs: number;
}

/**
 * Stands at the servers and sees what no process sees: every event as it is stored, every touch of a message. Notes
 * what must not happen.
 */
export class Judge {
  readonly faults: string[] = [];
  readonly #nowMs: () => number;
  readonly #note: (what: string) => void;
  readonly #logs = new Map<string, Stored[]>();
  /** By writer and job: the last event of each epoch, until it is used. One process may claim a job twice. */
  readonly #permits = new Map<string, Map<number, LogRecord>>();
  readonly #published = new Set<string>();
  readonly #ends = new Map<string, (() => void)[]>();

  constructor(nowMs: () => number, note: (what: string) => void) {
    this.#nowMs = nowMs;
    this.#note = note;
  }

  fault(what: string): void {
    this.#note(`FAULT ${what}`);
    this.faults.push(what);
  }

  jobs(): readonly string[] {
    return [...this.#logs.keys()];
  }

  /** The log of a job as the record has it. */
  log(jobId: string): readonly LogRecord[] {
    return (this.#logs.get(jobId) ?? []).map(({ record }) => record);
  }

  /** When the last event was stored, by the record's clock. */
  lastMs(jobId: string): number {
    return this.#logs.get(jobId)?.at(-1)?.storedMs ?? 0;
  }

  ended(jobId: string): Promise<void> {
    const last = this.#logs.get(jobId)?.at(-1);
    if (last !== undefined && isTerminal(last.record.event)) return Promise.resolve();
    return new Promise((resolve) => this.#ends.set(jobId, [...(this.#ends.get(jobId) ?? []), resolve]));
  }

  /** An append arrived and was stored, now or at an earlier try. */
  stored(writer: string, jobId: string, sequence: number, bytes: Uint8Array): void {
    const log = this.#logs.get(jobId) ?? [];
    this.#logs.set(jobId, log);
    const last = log.at(-1);
    if (last !== undefined && sequence <= last.record.sequence) return;
    const record = decodeRecord(jobId, sequence, bytes);
    this.#note(`${jobId} ${sequence} ${brief(record)} by ${writer}`);
    const claimer = log.findLast(({ record: { event } }) => event.type === "claimed")?.writer;
    for (const fault of faultsOf(last?.record ?? null, record, claimer === undefined || claimer === writer)) {
      this.fault(`${jobId}: ${brief(record)} by ${writer} at ${sequence}: ${fault}`);
    }
    log.push({ record, writer, storedMs: this.#nowMs() });
    this.#permitsOf(writer, jobId).set(record.epoch, record);
    if (isTerminal(record.event)) for (const resolve of this.#ends.get(jobId) ?? []) resolve();
  }

  published(phase: Phase, { jobId, follows }: WorkItem): void {
    this.#published.add(`${jobId} ${phase} ${follows}`);
  }

  /** Events in a job's log; `touched` takes this as it was when the message was delivered. */
  length(jobId: string): number {
    return this.#logs.get(jobId)?.length ?? 0;
  }

  touched(by: string, touch: Touch, jobId: string, phase: Phase, lengthThen: number): void {
    const permits = this.#permitsOf(by, jobId);
    const permit = [...permits.values()].findLast(({ event }) => permitted[event.type].includes(touch));
    if (permit !== undefined) {
      permits.delete(permit.epoch);
      // If another event follows, there was a message: the reconciler's, if this worker was slow.
      const waits = this.#logs.get(jobId)?.at(-1)?.record.sequence === permit.sequence;
      const early = waits && passesOn(permit.event) && !this.#published.has(`${jobId} ${permit.phase} ${permit.sequence}`);
      if (early && touch === "ack" && this.#at(jobId, lengthThen)?.phase === phase)
        this.fault(`${by} acked ${jobId} before the next message was there`);
    } else if (touch !== "ack" || !this.#wasOver(jobId, phase, lengthThen)) {
      this.fault(`${by} did ${touch} for ${jobId} (${phase}) without an accepted event of its own before`);
    }
  }

  #permitsOf(writer: string, jobId: string): Map<number, LogRecord> {
    const permits = this.#permits.get(`${writer} ${jobId}`) ?? new Map();
    this.#permits.set(`${writer} ${jobId}`, permits);
    return permits;
  }

  /** The last event of the log when it had `length` events. */
  #at(jobId: string, length: number): LogRecord | undefined {
    return this.#logs.get(jobId)?.[length - 1]?.record;
  }

  /** Whether the job was out of this phase at any moment since. */
  #wasOver(jobId: string, phase: Phase, since: number): boolean {
    const log = this.#logs.get(jobId) ?? [];
    if (log.length === 0) return true;
    return log.slice(Math.max(0, since - 1)).some(({ record }) => record.phase !== phase || isTerminal(record.event));
  }
}

/** What writers without a claim may append. */
const byNobody: ReadonlySet<JobEvent["type"]> = new Set(["claimed", "cancelled", "expired"]);

/** Events after which an ack means that the next message was sent. */
const passesOn = ({ type }: JobEvent): boolean => type === "handed_over" || type === "sent_back" || type === "released";

/** What is wrong with `record` behind `last`. */
function faultsOf(last: LogRecord | null, record: LogRecord, byClaimer: boolean): string[] {
  const { event } = record;
  const faults: string[] = [];
  const must = (holds: boolean, what: string) => holds || faults.push(what);
  if (last === null) {
    must(event.type === "submitted", "the first event is not `submitted`");
    return faults;
  }
  must(!isTerminal(last.event), "after the end");
  must(record.previous === last.sequence, `its writer thought the event before was ${record.previous}, not ${last.sequence}`);
  must(record.epoch === last.epoch + (event.type === "claimed" ? 1 : 0), `epoch ${record.epoch} after ${last.epoch}`);
  must(byClaimer || byNobody.has(event.type), "its writer does not hold the claim");
  if (event.type === "tokens") must(event.first === last.tokenCount, `tokens from ${event.first} after ${last.tokenCount}`);
  return faults;
}

export function brief({ event, epoch, attempt, tokenCount }: LogRecord): string {
  const detail = event.type === "progress" ? ` ${event.done}/${event.total}` : event.type === "released" ? ` (${event.reason})` : "";
  return `${event.type}${detail} e${epoch} a${attempt} t${tokenCount}`;
}

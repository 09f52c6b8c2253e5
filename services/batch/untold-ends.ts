import { type JobEnd, jobEndOf } from "../api/jobs/job-end.ts";
import { batchOf, hasEnded } from "../shared/batches/batch.ts";
import type { Document } from "../shared/bus/contract.ts";
import { Heard } from "./heard.ts";
import type { BatchDeps } from "./lines-run.ts";

/** Documents that have an end to tell. */
export const KINDS = ["batch", "event"] as const;
export type Kind = (typeof KINDS)[number];

/** The most ends of a kind held in memory, some 300 bytes each. Later ones are read once there are fewer. */
const KNOWN_MAX = 100_000;

/** An untold end: as much of it as is needed to find its document. */
export interface Untold {
  readonly tenant: string;
  readonly id: string;
  /** Unix seconds. */
  readonly nextAt: number;
  /** It was taken or given up, but that is not in the record yet. */
  readonly isOver: boolean;
}

/**
 * The untold ends of a kind, as of the last look at the record: each look reads what was written since the one before.
 */
export class UntoldEnds {
  readonly kind: Kind;
  readonly #readable: BatchDeps["readable"];
  readonly #knownMax: number;
  readonly #heard: Heard;
  readonly #due = new Map<string, Untold>();
  readonly #later = new Map<string, Untold>();

  constructor(kind: Kind, { bus, readable }: Pick<BatchDeps, "bus" | "readable">, knownMax = KNOWN_MAX) {
    this.kind = kind;
    this.#readable = readable;
    this.#knownMax = knownMax;
    this.#heard = new Heard(bus, kind);
  }

  /** To be called before each look. `isDoubtful`: the one before failed. */
  async recheck(isDoubtful: boolean): Promise<void> {
    if (!(await this.#heard.isToBeginAgain(isDoubtful))) return;
    this.#due.clear();
    this.#later.clear();
  }

  /** Until `stop` aborts: there may be days of ends to read. */
  async hear(stop: AbortSignal): Promise<void> {
    if (this.#known >= this.#knownMax) return;
    for await (const document of this.#heard.more()) {
      if (stop.aborted || this.#known >= this.#knownMax) return; // this one stays unheard
      const { tenant, id } = document;
      const end = this.#readable(this.kind, document, () => endOf(this.kind, document));
      const isOver = this.#drop(keyOf(document))?.isOver ?? false;
      if (end?.webhook != null) this.#later.set(keyOf(document), { tenant, id, nextAt: end.webhook.nextAt, isOver });
    }
  }

  /** Makes ends that are due by now available to `take`. */
  wake(nowMs: number): void {
    for (const [key, end] of this.#later) {
      if (1_000 * end.nextAt > nowMs) continue;
      this.#later.delete(key);
      this.#due.set(key, end);
    }
  }

  /** Takes the first end that is due; null if none is. It is forgotten here: what is written about it will be heard. */
  take(): Untold | null {
    for (const [key, end] of this.#due) {
      this.#due.delete(key);
      return end;
    }
    return null;
  }

  /** Puts back an end that was taken and about which nothing was written. */
  putBack(end: Untold): void {
    this.#drop(keyOf(end));
    this.#later.set(keyOf(end), end);
  }

  get #known(): number {
    return this.#due.size + this.#later.size;
  }

  #drop(key: string): Untold | undefined {
    const known = this.#due.get(key) ?? this.#later.get(key);
    this.#due.delete(key);
    this.#later.delete(key);
    return known;
  }
}

/** The end a document tells of; null while there is none. */
export function endOf(kind: Kind, document: Document): JobEnd | null {
  if (kind === "event") return jobEndOf(document);
  const batch = batchOf(document);
  return hasEnded(batch) ? { type: `batch.${batch.status}`, id: batch.id, endedAt: batch.endedAt!, webhook: batch.webhook } : null;
}

/** Names an end among those of its kind. */
export const keyOf = ({ tenant, id }: Pick<Document, "tenant" | "id">): string => `${tenant}\n${id}`;

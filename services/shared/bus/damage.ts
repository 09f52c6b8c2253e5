import { ServingError } from "../runtime/errors.ts";
import type { Logger } from "../runtime/log.ts";
import type { Metrics } from "../runtime/metrics.ts";
import type { Document, DocumentKind } from "./contract.ts";

/** An event of a log that this program cannot read. */
export interface Damage {
  readonly jobId: string;
  readonly sequence: number;
  readonly error: ServingError;
}
export type OnDamage = (damage: Damage) => void;

/** The most names remembered as reported. */
const TOLD_MAX = 10_000;

/** Whether a name is new, or was forgotten. */
function firstTimes(): (name: string) => boolean {
  const told = new Set<string>();
  return (name) => {
    if (told.has(name)) return false;
    if (told.size === TOLD_MAX) told.clear();
    told.add(name);
    return true;
  };
}

/** Counts and logs each damaged job once, however often it is read. */
export function tellDamage(log: Logger, metrics: Metrics): OnDamage {
  const jobs = metrics.counter(
    "longshore_damaged_jobs_total",
    "Jobs with an event that cannot be read, each counted once by each process.",
  );
  const isNew = firstTimes();
  return ({ jobId, sequence, error }) => {
    if (!isNew(jobId)) return;
    jobs.inc();
    log.error({ jobId, sequence, err: error.cause ?? error }, "an event of a job cannot be read: the job is left alone until its deadline");
  };
}

/** Reads a document; null for one that cannot be read. */
export type ReadDocument = <T>(kind: DocumentKind, document: Document, read: (document: Document) => T) => T | null;

/** Counts and logs each damaged document once, however often it is read. */
export function documentReader(log: Logger, metrics: Metrics): ReadDocument {
  const documents = metrics.counter(
    "longshore_damaged_documents_total",
    "Documents of batches, files and ends of jobs that cannot be read, each counted once by each process.",
    ["kind"],
  );
  const isNew = firstTimes();
  return (kind, document, read) => {
    try {
      return read(document);
    } catch (thrown) {
      if (!isDamaged(thrown)) throw thrown;
      const { id, place } = document;
      if (isNew(`${kind} ${document.tenant} ${id}`)) {
        documents.inc({ kind });
        log.error({ [kind]: id, place, err: thrown.cause }, "a document cannot be read and is skipped");
      }
      return null;
    }
  };
}

export const isDamaged = (thrown: unknown): thrown is ServingError => thrown instanceof ServingError && thrown.code === "DAMAGED";

/** Null in place of what cannot be read. */
export function unlessDamaged<T>(read: () => T): T | null {
  try {
    return read();
  } catch (thrown) {
    if (isDamaged(thrown)) return null;
    throw thrown;
  }
}

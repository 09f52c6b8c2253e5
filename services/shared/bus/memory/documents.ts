import type { Clock } from "../../runtime/clock.ts";
import { ServingError } from "../../runtime/errors.ts";
import type { Document, DocumentKind, Documents, Room } from "../contract.ts";
import { type Kept, Shelf } from "./shelf.ts";

interface DocumentBounds {
  /** Of the texts of batches and files together, and of ends. */
  readonly bytesMax: number;
  readonly endsBytesMax: number;
  readonly ageMsMax: number;
  readonly endsAgeMsMax: number;
}

interface Bucket {
  readonly bytesMax: number;
  readonly shelf: Shelf<Written>;
}

type Written = Pick<Document, "tenant" | "id" | "text">;

/** Documents that live and die with the process. */
export class MemoryDocuments implements Documents {
  readonly #buckets: Readonly<Record<DocumentKind, Bucket>>;

  constructor({ bytesMax, endsBytesMax, ageMsMax, endsAgeMsMax }: DocumentBounds, clock: Clock) {
    const documents = { bytesMax, shelf: new Shelf<Written>(ageMsMax, clock) };
    const ends = { bytesMax: endsBytesMax, shelf: new Shelf<Written>(endsAgeMsMax, clock) };
    this.#buckets = { batch: documents, file: documents, event: ends };
  }

  async put(kind: DocumentKind, tenant: string, id: string, text: string, after: number): Promise<number | null> {
    const key = keyOf(kind, tenant, id);
    const { bytesMax, shelf } = this.#buckets[kind];
    const before = shelf.get(key);
    if ((before?.place ?? 0) !== after) return null;
    const bytes = Buffer.byteLength(text);
    if (shelf.bytes - (before?.bytes ?? 0) + bytes > bytesMax)
      throw new ServingError("OVERLOADED", "no room for more documents; try again later");
    return shelf.put(key, { tenant, id, text }, bytes);
  }

  async get(kind: DocumentKind, tenant: string, id: string): Promise<Document | null> {
    const found = this.#buckets[kind].shelf.get(keyOf(kind, tenant, id));
    return found === null ? null : document(found);
  }

  async behind(kind: DocumentKind, tenant: string | null, after: number, max: number): Promise<readonly Document[]> {
    const found: Document[] = [];
    const begin = tenant === null ? `${kind}\n` : keyOf(kind, tenant, "");
    for (const [key, kept] of this.#buckets[kind].shelf.entries())
      if (kept.place > after && key.startsWith(begin) && found.push(document(kept)) === max) break;
    return found;
  }

  async end(kind: DocumentKind): Promise<number> {
    return this.#buckets[kind].shelf.end;
  }

  async delete(kind: DocumentKind, tenant: string, id: string): Promise<void> {
    this.#buckets[kind].shelf.delete(keyOf(kind, tenant, id));
  }

  interruptions(): number {
    return 0;
  }

  async room(): Promise<Room> {
    const { bytesMax, shelf } = this.#buckets.batch;
    return { bytes: shelf.bytes, bytesMax };
  }
}

const keyOf = (kind: DocumentKind, tenant: string, id: string): string => `${kind}\n${tenant}\n${id}`;
const document = ({ value, place, keptMs }: Kept<Written>): Document => ({ ...value, place, storedMs: keptMs });

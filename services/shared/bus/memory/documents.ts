import type { Clock } from "../../runtime/clock.ts";
import { ServingError } from "../../runtime/errors.ts";
import type { Document, DocumentKind, Documents, Room } from "../contract.ts";
import { type Kept, Shelf } from "./shelf.ts";

interface DocumentBounds {
  /** Of the texts of all together. */
  readonly bytesMax: number;
  readonly ageMsMax: number;
}

type Written = Pick<Document, "tenant" | "id" | "text">;

/** Documents that live and die with the process. */
export class MemoryDocuments implements Documents {
  readonly #bytesMax: number;
  readonly #shelf: Shelf<Written>;

  constructor({ bytesMax, ageMsMax }: DocumentBounds, clock: Clock) {
    this.#bytesMax = bytesMax;
    this.#shelf = new Shelf(ageMsMax, clock);
  }

  async put(kind: DocumentKind, tenant: string, id: string, text: string, after: number): Promise<number | null> {
    const key = keyOf(kind, tenant, id);
    const before = this.#shelf.get(key);
    if ((before?.place ?? 0) !== after) return null;
    const bytes = Buffer.byteLength(text);
    if (this.#shelf.bytes - (before?.bytes ?? 0) + bytes > this.#bytesMax)
      throw new ServingError("OVERLOADED", "no room for more documents; try again later");
    return this.#shelf.put(key, { tenant, id, text }, bytes);
  }

  async get(kind: DocumentKind, tenant: string, id: string): Promise<Document | null> {
    const found = this.#shelf.get(keyOf(kind, tenant, id));
    return found === null ? null : document(found);
  }

  async behind(kind: DocumentKind, tenant: string | null, after: number, max: number): Promise<readonly Document[]> {
    const found: Document[] = [];
    const begin = tenant === null ? `${kind}\n` : keyOf(kind, tenant, "");
    for (const [key, kept] of this.#shelf.entries())
      if (kept.place > after && key.startsWith(begin) && found.push(document(kept)) === max) break;
    return found;
  }

  async delete(kind: DocumentKind, tenant: string, id: string): Promise<void> {
    this.#shelf.delete(keyOf(kind, tenant, id));
  }

  async room(): Promise<Room> {
    return { bytes: this.#shelf.bytes, bytesMax: this.#bytesMax };
  }
}

const keyOf = (kind: DocumentKind, tenant: string, id: string): string => `${kind}\n${tenant}\n${id}`;
const document = ({ value, place, keptMs }: Kept<Written>): Document => ({ ...value, place, storedMs: keptMs });

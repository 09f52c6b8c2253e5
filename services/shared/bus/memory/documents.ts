import type { Clock } from "../../runtime/clock.ts";
import { ServingError } from "../../runtime/errors.ts";
import type { Document, DocumentKind, Documents, Room } from "../contract.ts";

interface DocumentBounds {
  /** Of the texts of all together. */
  readonly bytesMax: number;
  readonly ageMsMax: number;
}

/** Documents that live and die with the process. */
export class MemoryDocuments implements Documents {
  readonly #bounds: DocumentBounds;
  readonly #clock: Clock;
  /** In the order they were last written. */
  readonly #documents = new Map<string, Document & { readonly bytes: number; readonly putMs: number }>();
  #bytes = 0;
  #places = 0;

  constructor(bounds: DocumentBounds, clock: Clock) {
    this.#bounds = bounds;
    this.#clock = clock;
  }

  async put(kind: DocumentKind, tenant: string, id: string, text: string, after: number): Promise<number | null> {
    this.#forget();
    const key = keyOf(kind, tenant, id);
    const before = this.#documents.get(key);
    if ((before?.place ?? 0) !== after) return null;
    const bytes = Buffer.byteLength(text);
    if (this.#bytes - (before?.bytes ?? 0) + bytes > this.#bounds.bytesMax)
      throw new ServingError("OVERLOADED", "no room for more documents; try again later");
    this.#remove(key);
    const place = ++this.#places;
    this.#documents.set(key, { tenant, id, text, bytes, place, storedMs: this.#clock.nowMs(), putMs: this.#clock.monotonicMs() });
    this.#bytes += bytes;
    return place;
  }

  async get(kind: DocumentKind, tenant: string, id: string): Promise<Document | null> {
    this.#forget();
    const found = this.#documents.get(keyOf(kind, tenant, id));
    return found === undefined ? null : shown(found);
  }

  async behind(kind: DocumentKind, tenant: string | null, after: number, max: number): Promise<readonly Document[]> {
    this.#forget();
    const found: Document[] = [];
    const begin = tenant === null ? `${kind}\n` : keyOf(kind, tenant, "");
    for (const [key, document] of this.#documents)
      if (document.place > after && key.startsWith(begin) && found.push(shown(document)) === max) break;
    return found;
  }

  async delete(kind: DocumentKind, tenant: string, id: string): Promise<void> {
    this.#remove(keyOf(kind, tenant, id));
  }

  async room(): Promise<Room> {
    this.#forget();
    return { bytes: this.#bytes, bytesMax: this.#bounds.bytesMax };
  }

  #remove(key: string): void {
    this.#bytes -= this.#documents.get(key)?.bytes ?? 0;
    this.#documents.delete(key);
  }

  #forget(): void {
    const nowMs = this.#clock.monotonicMs();
    for (const [key, { putMs }] of this.#documents) {
      if (nowMs - putMs < this.#bounds.ageMsMax) break;
      this.#remove(key);
    }
  }
}

const keyOf = (kind: DocumentKind, tenant: string, id: string): string => `${kind}\n${tenant}\n${id}`;
const shown = ({ tenant, id, text, place, storedMs }: Document): Document => ({ tenant, id, text, place, storedMs });

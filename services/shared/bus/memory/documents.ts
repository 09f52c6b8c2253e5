import type { Clock } from "../../runtime/clock.ts";
import type { Document, DocumentKind, Documents } from "../contract.ts";

/** Documents that live and die with the process. */
export class MemoryDocuments implements Documents {
  readonly #clock: Clock;
  /** In the order they were last written. */
  readonly #documents = new Map<string, Document>();
  #places = 0;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  async put(kind: DocumentKind, tenant: string, id: string, text: string, after: number): Promise<number | null> {
    const key = keyOf(kind, tenant, id);
    if ((this.#documents.get(key)?.place ?? 0) !== after) return null;
    this.#documents.delete(key);
    const place = ++this.#places;
    this.#documents.set(key, { tenant, id, text, place, storedMs: this.#clock.nowMs() });
    return place;
  }

  async get(kind: DocumentKind, tenant: string, id: string): Promise<Document | null> {
    return this.#documents.get(keyOf(kind, tenant, id)) ?? null;
  }

  async behind(kind: DocumentKind, tenant: string | null, after: number, max: number): Promise<readonly Document[]> {
    const found: Document[] = [];
    const begin = tenant === null ? `${kind}\n` : keyOf(kind, tenant, "");
    for (const [key, document] of this.#documents)
      if (document.place > after && key.startsWith(begin) && found.push(document) === max) break;
    return found;
  }

  async delete(kind: DocumentKind, tenant: string, id: string): Promise<void> {
    this.#documents.delete(keyOf(kind, tenant, id));
  }
}

const keyOf = (kind: DocumentKind, tenant: string, id: string): string => `${kind}\n${tenant}\n${id}`;

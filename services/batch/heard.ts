import { documentsBehind } from "../shared/batches/batch.ts";
import type { Bus, Document, DocumentKind } from "../shared/bus/contract.ts";

/** How far the documents of a kind were heard: each look brings what was written since the one before, also where that one broke off. */
export class Heard {
  readonly #bus: Bus;
  readonly #kind: DocumentKind;
  #last: Pick<Document, "tenant" | "id" | "place"> | null = null;
  #interruptions: number;

  constructor(bus: Bus, kind: DocumentKind) {
    this.#bus = bus;
    this.#kind = kind;
    this.#interruptions = bus.documents.interruptions();
  }

  /** A document counts as heard once the next one is asked for. */
  async *more(): AsyncGenerator<Document> {
    for await (const document of documentsBehind(this.#bus, this.#kind, null, this.#last?.place ?? 0)) {
      yield document;
      const { tenant, id, place } = document;
      this.#last = { tenant, id, place };
    }
  }

  /**
   * Where the record was away since the last look, `isDoubtful` or as its connection tells, it may have come back with less than it had, and use its places again: unless what was heard last still
   * lies where it did, all is to be heard again. True if so. It may have been written anew or be gone for good reason: then too, as nobody can tell.
   */
  async isToBeginAgain(isDoubtful: boolean): Promise<boolean> {
    const interruptions = this.#bus.documents.interruptions();
    if (!isDoubtful && interruptions === this.#interruptions) return false;
    if (this.#last !== null) {
      const { tenant, id, place } = this.#last;
      if ((await this.#bus.documents.get(this.#kind, tenant, id))?.place === place) {
        this.#interruptions = interruptions;
        return false;
      }
    }
    this.#last = null;
    this.#interruptions = interruptions;
    return true;
  }
}

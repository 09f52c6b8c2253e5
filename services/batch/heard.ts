import { documentsBehind } from "../shared/batches/batch.ts";
import type { Bus, Document, DocumentKind } from "../shared/bus/contract.ts";

/**
 * How far the documents of a kind were read: each look brings what was written since the one before, even if that one
 * broke off.
 */
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
   * Whether all documents are to be read again. If the record was away since the last look (`isDoubtful`, or its
   * connection says so), it may have come back with less than it had, and may use its places again. So everything is
   * read again unless the document heard last still lies at its place. It may also have been rewritten or deleted in
   * the meantime: that looks the same, and has the same effect.
   */
  async isToBeginAgain(isDoubtful: boolean): Promise<boolean> {
    const interruptions = this.#bus.documents.interruptions();
    if (!isDoubtful && interruptions === this.#interruptions) return false;
    const isThere = await this.#isLastThere();
    if (!isThere) this.#last = null;
    this.#interruptions = interruptions;
    return !isThere;
  }

  async #isLastThere(): Promise<boolean> {
    if (this.#last === null) return false;
    const { tenant, id, place } = this.#last;
    return (await this.#bus.documents.get(this.#kind, tenant, id))?.place === place;
  }
}

import { documentsBehind } from "../shared/batches/batch.ts";
import type { Bus, Document, DocumentKind } from "../shared/bus/contract.ts";

/** How far the documents of a kind were heard: each look brings what was written since the one before, also where that one broke off. */
export class Heard {
  readonly #bus: Bus;
  readonly #kind: DocumentKind;
  #last: Pick<Document, "tenant" | "id" | "place"> | null = null;

  constructor(bus: Bus, kind: DocumentKind) {
    this.#bus = bus;
    this.#kind = kind;
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
   * The record was away, and may have come back with less than it had: unless what was heard last still lies where it did, all is to be heard
   * again. True if so. It may have been written anew or be gone for good reason: then too, as nobody can tell.
   */
  async isToBeginAgain(): Promise<boolean> {
    if (this.#last === null) return false;
    const { tenant, id, place } = this.#last;
    if ((await this.#bus.documents.get(this.#kind, tenant, id))?.place === place) return false;
    this.#last = null;
    return true;
  }
}

import { type Batch, batchOf, hasEnded, isFree } from "../shared/batches/batch.ts";
import type { Document } from "../shared/bus/contract.ts";
import { Heard } from "./heard.ts";
import type { BatchDeps } from "./lines-run.ts";

interface Open {
  readonly batch: Batch;
  readonly document: Document;
}

/** The batches that have not ended, as the record last told: each look reads what was written since the one before. */
export class OpenBatches {
  readonly #deps: Pick<BatchDeps, "bus" | "readable">;
  readonly #heard: Heard;
  readonly #open = new Map<string, Open>();
  #seenMs = 0;

  constructor(deps: Pick<BatchDeps, "bus" | "readable">) {
    this.#deps = deps;
    this.#heard = new Heard(deps.bus, "batch");
  }

  /** The latest that a batch was written, by the record's clock. */
  get seenMs(): number {
    return this.#seenMs;
  }

  async hear(): Promise<void> {
    for await (const document of this.#heard.more()) {
      const batch = this.#deps.readable("batch", document, batchOf);
      this.#open.delete(document.id);
      if (batch !== null && !hasEnded(batch)) this.#open.set(document.id, { batch, document });
      this.#seenMs = Math.max(this.#seenMs, document.storedMs);
    }
  }

  /** Before each look. `isDoubtful`: the one before failed. */
  async recheck(isDoubtful: boolean): Promise<void> {
    if (!(await this.#heard.isToBeginAgain(isDoubtful))) return;
    this.#open.clear();
    this.#seenMs = 0;
  }

  /** Files that are read yet. */
  inputs(): ReadonlySet<string> {
    return new Set(Array.from(this.#open.values(), ({ batch }) => batch.inputFileId));
  }

  /** Those that may be claimed: first what has to end, then of the tenant with the fewest at work, then the oldest. */
  free(nowMs: number, claimMs: number): readonly Open[] {
    const open = [...this.#open.values()].sort(({ batch: a }, { batch: b }) => a.createdAt - b.createdAt);
    const isFreeNow = ({ batch, document }: Open) => isFree(batch, document.storedMs, nowMs, claimMs);
    const counts = new Map<string, number>();
    const counted = ({ batch: { tenant } }: Open) => {
      const before = counts.get(tenant) ?? 0;
      counts.set(tenant, before + 1);
      return before;
    };
    for (const one of open) if (!isFreeNow(one)) counted(one);
    return open
      .filter(isFreeNow)
      .map((one) => ({ one, rank: hasToEnd(one.batch, nowMs) ? -1 : counted(one) }))
      .sort((a, b) => a.rank - b.rank)
      .map(({ one }) => one);
  }
}

/** Nothing of it is to be run any more. */
export const hasToEnd = ({ cancellingAt, expiresAt }: Batch, nowMs: number): boolean => cancellingAt !== null || nowMs >= 1_000 * expiresAt;

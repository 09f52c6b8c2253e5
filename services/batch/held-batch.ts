import { type Batch, batchOf } from "../shared/batches/batch.ts";
import type { Bus, Document } from "../shared/bus/contract.ts";
import type { Clock } from "../shared/runtime/clock.ts";
import type { Config } from "../shared/runtime/config.ts";
import { isUnavailable, ServingError } from "../shared/runtime/errors.ts";
import { backoffMs, Pause } from "../shared/runtime/pause.ts";

interface HoldDeps {
  readonly bus: Bus;
  readonly clock: Clock;
  readonly config: Pick<Config, "claimMs">;
}

/** Another coordinator works on the batch now, or it is gone: stop in silence. */
export class HoldLost extends Error {
  override readonly name = "HoldLost";
}

/**
 * The right to write a batch. Every write names the one before, so of two coordinators one is refused; `turn` tells a write of ours whose answer
 * was lost from another's. Only the API writes beside us, and only that the batch is to be cancelled: that is taken over, and we write again.
 * Epochs begin anew in a batch that was deleted and made again under its key, so the holder is compared, too. A record that came back with less than it
 * had holds an earlier turn of ours: then what came behind it is lost, and whoever claims the batch anew does it again.
 */
export class HeldBatch {
  readonly #bus: Bus;
  readonly #clock: Clock;
  readonly #claimMs: number;
  readonly #stop: AbortSignal;
  #batch: Batch;
  #place: number;
  #writtenMs: number;

  private constructor({ bus, clock, config }: HoldDeps, stop: AbortSignal, batch: Batch, place: number) {
    this.#bus = bus;
    this.#clock = clock;
    this.#claimMs = config.claimMs;
    this.#stop = stop;
    this.#batch = batch;
    this.#place = place;
    this.#writtenMs = clock.monotonicMs();
  }

  /** `holder`: a name that no other coordinator has, and that holds the batch once at a time. Null if another was faster, or the record did not say. */
  static async claim(deps: HoldDeps, document: Document, holder: string, stop: AbortSignal): Promise<HeldBatch | null> {
    const before = batchOf(document);
    const batch: Batch = { ...before, holder, epoch: before.epoch + 1, turn: before.turn + 1, attempt: before.attempt + 1 };
    try {
      const place = await deps.bus.documents.put("batch", batch.tenant, batch.id, JSON.stringify(batch), document.place);
      return place === null ? null : new HeldBatch(deps, stop, batch, place);
    } catch (error) {
      if (isUnavailable(error)) return null; // if it was stored all the same, the claim runs out
      throw error;
    }
  }

  get batch(): Batch {
    return this.#batch;
  }

  /** Shows, now and then, that there is progress: the claim lives by it. Throws like `write`. */
  async beat(): Promise<void> {
    if (this.#clock.monotonicMs() - this.#writtenMs >= this.#claimMs / 8) await this.write({});
  }

  /** Resolves once it is in the record, however long that is away; throws HoldLost, or the reason of the stop. */
  async write(changes: Partial<Batch>): Promise<void> {
    const turn = this.#batch.turn + 1;
    for (let tries = 0; ; tries++) {
      try {
        if (await this.#writeOnce({ ...this.#batch, ...changes, turn })) return;
      } catch (error) {
        if (!(error instanceof ServingError && error.retryable)) throw error;
        this.#stop.throwIfAborted();
        await new Pause().wait(this.#clock, backoffMs(tries), this.#stop);
      }
    }
  }

  /** True once `next` is in the record; false if it has to be written again, upon what was found there. */
  async #writeOnce(next: Batch): Promise<boolean> {
    const { documents } = this.#bus;
    const { tenant, id, epoch } = next;
    const place = await documents.put("batch", tenant, id, JSON.stringify(next), this.#place);
    if (place !== null) {
      this.#become(next, place);
      return true;
    }
    const found = await documents.get("batch", tenant, id);
    const batch = found === null ? null : batchOf(found);
    const wasStored = batch?.turn === next.turn && batch.holder === next.holder;
    const isOurs = batch?.epoch === epoch && batch.turn >= this.#batch.turn && (wasStored || batch.holder === this.#batch.holder);
    if (found === null || batch === null || !isOurs) throw new HoldLost(`${id} is another's`);
    this.#become(batch, found.place);
    return wasStored;
  }

  #become(batch: Batch, place: number): void {
    this.#batch = batch;
    this.#place = place;
    this.#writtenMs = this.#clock.monotonicMs();
  }
}

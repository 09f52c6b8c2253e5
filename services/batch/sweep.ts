import { documentsBehind } from "../shared/batches/batch.ts";
import { deleteStored, fileOf } from "../shared/batches/file.ts";
import type { BatchDeps } from "./lines-run.ts";

/** Between two looks for files whose life is over. */
const SWEEP_MS = 600_000;

type SweepDeps = Pick<BatchDeps, "bus" | "log" | "readable" | "stopping">;

/** Sweeps now and then, beside all else: no batch waits for it. */
export class Sweeps {
  readonly #deps: SweepDeps;
  #dueMs = 0;
  #over: Promise<void> = Promise.resolve();

  constructor(deps: SweepDeps) {
    this.#deps = deps;
  }

  /** Resolves once none is under way. Never rejects. */
  get over(): Promise<void> {
    return this.#over;
  }

  beginIfDue(nowMs: number, used: () => ReadonlySet<string>): void {
    if (nowMs < this.#dueMs) return;
    this.#dueMs = Number.POSITIVE_INFINITY; // until it is over
    this.#over = this.#sweep(used(), nowMs);
  }

  async #sweep(used: ReadonlySet<string>, nowMs: number): Promise<void> {
    const { log, stopping } = this.#deps;
    try {
      await sweepFiles(this.#deps, used, nowMs);
    } catch (error) {
      if (!stopping.aborted) log.warn({ err: error }, "expired files could not be deleted; the next sweep tries again");
    }
    this.#dueMs = nowMs + SWEEP_MS;
  }
}

/** Deletes the files whose life is over, but for those in `used`, until told to stop. Harmless when several do it. */
export async function sweepFiles({ bus, log, readable, stopping }: SweepDeps, used: ReadonlySet<string>, nowMs: number): Promise<void> {
  let swept = 0;
  for await (const document of documentsBehind(bus, "file", null, 0)) {
    if (stopping.aborted) break;
    const file = readable("file", document, fileOf);
    if (file === null || 1_000 * file.expiresAt > nowMs || used.has(file.id)) continue;
    await deleteStored(bus, document.tenant, file);
    swept++;
  }
  if (swept > 0) log.info({ files: swept }, "expired files were deleted");
}

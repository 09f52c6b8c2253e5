import type { Bus } from "../../shared/bus/contract.ts";
import { type Kind, storageTroubles } from "../../shared/bus/storage.ts";
import type { Clock } from "../../shared/runtime/clock.ts";
import type { Logger } from "../../shared/runtime/log.ts";

/** Between two looks: a server that forgets to give back room takes days to fill. */
const LOOK_MS = 600_000;

/** Tells when the record's server runs out of room of a kind, or counts what nobody holds; once, until that is over or it refuses what is written. */
export class StorageWatch {
  readonly #bus: Pick<Bus, "storage">;
  readonly #clock: Clock;
  readonly #log: Logger;
  #dueMs = Number.NEGATIVE_INFINITY;
  #told: ReadonlyMap<Kind, "filling" | "refuses"> = new Map();

  constructor(bus: Pick<Bus, "storage">, clock: Clock, log: Logger) {
    this.#bus = bus;
    this.#clock = clock;
    this.#log = log;
  }

  /** Asks when it is time to. Never rejects: a record that does not say may be one where we may not ask. */
  async look(): Promise<void> {
    const nowMs = this.#clock.monotonicMs();
    if (nowMs < this.#dueMs) return;
    this.#dueMs = nowMs + LOOK_MS;
    const storage = await this.#bus.storage().catch(() => null);
    if (storage === null) return;
    const told = new Map<Kind, "filling" | "refuses">();
    for (const { kind, refuses, text } of storageTroubles(storage)) {
      told.set(kind, refuses ? "refuses" : "filling");
      if (told.get(kind) !== this.#told.get(kind)) this.#log.warn({ storage }, `the record runs out of room: ${text}`);
    }
    this.#told = told;
  }
}

import type { Registry } from "../../shared/bus/contract.ts";
import { ServingError } from "../../shared/runtime/errors.ts";
import { type ApiKey, idOf, opens, readKey } from "./key.ts";
import { KEYS_MAX } from "./keys-room.ts";

/** Every so many looks all keys are read, not only what is new: a record that was made anew counts from the beginning. */
const WHOLE_EVERY = 60;

/** The keys of the record, as this process knows them. A key it has seen stays known while the record is away, and when the record is lost. */
export class KeyRing {
  readonly #registry: Registry;
  /** Those that open. */
  readonly #keys = new Map<string, ApiKey>();
  /** There was a key once, revoked or not. */
  #closed = false;
  #place = 0;
  #looks = 0;

  constructor(registry: Registry) {
    this.#registry = registry;
  }

  /** Whether it is certain that there was no key ever. Throws UNAVAILABLE until the record was read once. */
  get empty(): boolean {
    if (this.#looks === 0) throw new ServingError("UNAVAILABLE", "the API keys could not be read yet; try again");
    return !this.#closed;
  }

  /** Whether any key that opens has a limit. */
  get limited(): boolean {
    return [...this.#keys.values()].some((key) => key.requestsPerMinute !== null || key.tokensPerMinute !== null);
  }

  /** Takes in what was made or revoked since the last look. */
  async look(): Promise<void> {
    const whole = this.#looks % WHOLE_EVERY === 0;
    for (const { place, text } of await this.#registry.keptKeys(whole ? 0 : this.#place, KEYS_MAX)) {
      const key = readKey(text);
      if (key !== null) this.#take(key);
      this.#place = place;
    }
    this.#looks++;
  }

  #take(key: ApiKey): void {
    this.#closed = true;
    if (key.revokedMs === null) this.#keys.set(key.id, key);
    else this.#keys.delete(key.id);
  }

  get(id: string): ApiKey | null {
    return this.#keys.get(id) ?? null;
  }

  /** The key that `secret` is; null if it is none, or none any more. */
  find(secret: string): ApiKey | null {
    const id = idOf(secret);
    const key = id === null ? null : this.get(id);
    return key !== null && opens(secret, key) ? key : null;
  }
}

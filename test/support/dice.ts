import { type Random, seededRandom } from "../../services/shared/runtime/random.ts";

/** Questions to a source of randomness. */
export class Dice {
  readonly random: Random;

  constructor(random: Random) {
    this.random = random;
  }

  chance(probability = 0.5): boolean {
    return this.random.u32() < probability * 2 ** 32;
  }

  /** Uniform in [0, end). */
  upTo(end: number): number {
    return (this.random.u32() / 2 ** 32) * end;
  }

  /** A whole number from `low` to `high`, both included. */
  whole(low: number, high: number): number {
    return low + (this.random.u32() % (high - low + 1));
  }

  /** A whole number of any size: every doubling from `low` to `high` is as likely as the next. */
  size(low: number, high: number): number {
    return Math.round(low * (high / low) ** (this.random.u32() / 2 ** 32));
  }

  pick<T>(from: readonly T[]): T {
    return from[this.random.u32() % from.length]!;
  }

  /** Independent dice: throwing them changes nothing here. */
  fork(): Dice {
    return new Dice(seededRandom(this.random.u32()));
  }
}

import { onAbort } from "../shared/runtime/pause.ts";

interface Turn {
  readonly bytes: number;
  readonly begin: () => void;
}

/** Room that is given in the order it is asked for. What needs more than there ever is has its turn alone. */
export class Turns {
  readonly #bytesMax: number;
  readonly #alsoHeld: () => number;
  readonly #waiting: Turn[] = [];
  #given = 0;

  /** `alsoHeld`: what takes of the same room besides; call `look` when it has become less. */
  constructor(bytesMax: number, alsoHeld: () => number) {
    this.#bytesMax = bytesMax;
    this.#alsoHeld = alsoHeld;
  }

  /** Resolves once there is room, until `give`. Rejects with the reason of `stop`. */
  async take(bytes: number, stop: AbortSignal): Promise<void> {
    stop.throwIfAborted();
    await new Promise<void>((begin) => {
      const forget = onAbort([stop], begin);
      this.#waiting.push({
        bytes,
        begin: () => {
          forget();
          begin();
        },
      });
      this.look();
    });
    stop.throwIfAborted();
  }

  give(bytes: number): void {
    this.#given -= bytes;
    this.look();
  }

  look(): void {
    for (let next = this.#waiting[0]; next !== undefined && this.#isRoom(next.bytes); next = this.#waiting[0]) {
      this.#waiting.shift();
      this.#given += next.bytes;
      next.begin();
    }
  }

  #isRoom(bytes: number): boolean {
    const held = this.#given + this.#alsoHeld();
    return held + bytes <= this.#bytesMax || (this.#given === 0 && held < this.#bytesMax);
  }
}

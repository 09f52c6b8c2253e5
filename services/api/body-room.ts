import { ServingError } from "../shared/runtime/errors.ts";

/** What the body of one request takes of the room. */
export interface Share {
  /** Throws OVERLOADED where there is no room for so many bytes more. */
  take(bytes: number): void;
  /** All of it, for good: what still comes is not held. */
  giveBack(): void;
}

/** The room for the bodies of all requests, from when they are announced, or arrive, until nothing holds them. */
export class BodyRoom {
  readonly #max: number;
  #bytes = 0;

  constructor(max: number) {
    this.#max = max;
  }

  get bytes(): number {
    return this.#bytes;
  }

  share(): Share {
    let own = 0;
    let over = false;
    return {
      take: (bytes) => {
        if (over) return;
        if (this.#bytes + bytes > this.#max) throw full();
        this.#bytes += bytes;
        own += bytes;
      },
      giveBack: () => {
        this.#bytes -= own;
        own = 0;
        over = true;
      },
    };
  }
}

const full = () => new ServingError("OVERLOADED", "the bodies of other requests fill this server's memory for them; try again");

import type { Config } from "../../shared/runtime/config.ts";
import { ServingError } from "../../shared/runtime/errors.ts";
import { type Caller, EVERYBODY } from "../auth.ts";

/** What the body of one request takes of the room. */
export interface Share {
  /**
   * So many bytes are to come. Throws OVERLOADED where there is no room for them now, but takes little of it: who sends nothing keeps it from nobody.
   * Returns what is left to take as they arrive.
   */
  announce(bytes: number): number;
  /** So many are there, of which at most `most` are held at a time. Throws OVERLOADED where they find no room. */
  arrive(bytes: number, most?: number): void;
  /** All of it, for good: what still comes is not held. */
  giveBack(): void;
}

/** What a body takes before any of it is there. */
const AHEAD_BYTES = 65_536;

/** The room for the bodies of all requests, from when they arrive until nothing holds them. A tenant may take half of it, or one whole body. */
export class BodyRoom {
  readonly #max: number;
  readonly #tenantMax: number;
  /** Of those who have any. */
  readonly #byTenant = new Map<string, number>();
  #bytes = 0;

  constructor({ bodiesMaxBytes, bodyMaxBytes }: Pick<Config, "bodiesMaxBytes" | "bodyMaxBytes">) {
    this.#max = bodiesMaxBytes;
    this.#tenantMax = Math.max(bodiesMaxBytes / 2, bodyMaxBytes);
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** Without a caller, as for EVERYBODY, the whole room is the bound. */
  share(caller: Caller | null): Share {
    const tenant = caller === EVERYBODY ? null : (caller?.tenant ?? null);
    let own = 0;
    let arrived = 0;
    let over = false;
    const require = (bytes: number): void => {
      if (this.#bytes + bytes > this.#max) throw full();
      if (tenant !== null && this.#of(tenant) + bytes > this.#tenantMax) throw halfFull();
    };
    const take = (bytes: number): void => {
      if (over || bytes <= 0) return;
      require(bytes);
      this.#add(tenant, bytes);
      own += bytes;
    };
    return {
      announce: (bytes) => {
        require(bytes);
        take(Math.min(bytes, AHEAD_BYTES));
        return bytes - own;
      },
      arrive: (bytes, most = Number.POSITIVE_INFINITY) => {
        arrived += bytes;
        take(Math.min(arrived, most) - own);
      },
      giveBack: () => {
        this.#add(tenant, -own);
        own = 0;
        over = true;
      },
    };
  }

  #of(tenant: string): number {
    return this.#byTenant.get(tenant) ?? 0;
  }

  #add(tenant: string | null, bytes: number): void {
    this.#bytes += bytes;
    if (tenant === null) return;
    const left = this.#of(tenant) + bytes;
    if (left === 0) this.#byTenant.delete(tenant);
    else this.#byTenant.set(tenant, left);
  }
}

const full = () => new ServingError("OVERLOADED", "this server's memory for request bodies is full; try again");
const halfFull = () =>
  new ServingError("OVERLOADED", "your other requests fill half of this server's memory for request bodies; try again");

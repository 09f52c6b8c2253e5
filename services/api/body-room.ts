import type { Config } from "../shared/runtime/config.ts";
import { ServingError } from "../shared/runtime/errors.ts";
import { type Caller, EVERYBODY } from "./auth.ts";

/** What the body of one request takes of the room. */
export interface Share {
  /** Throws OVERLOADED where there is no room for so many bytes more. */
  take(bytes: number): void;
  /** All of it, for good: what still comes is not held. */
  giveBack(): void;
}

/** The room for the bodies of all requests, from when they are announced, or arrive, until nothing holds them. A tenant may take half of it, or one whole body. */
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
    let over = false;
    return {
      take: (bytes) => {
        if (over) return;
        if (this.#bytes + bytes > this.#max) throw full();
        if (tenant !== null && this.#of(tenant) + bytes > this.#tenantMax) throw halfFull();
        this.#add(tenant, bytes);
        own += bytes;
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

const full = () => new ServingError("OVERLOADED", "the bodies of other requests fill this server's memory for them; try again");
const halfFull = () =>
  new ServingError("OVERLOADED", "the bodies of your other requests fill half of this server's memory for them; try again");

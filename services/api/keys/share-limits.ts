import type { Registry } from "../../shared/bus/contract.ts";
import type { Reach } from "../../shared/bus/reach.ts";
import type { Clock } from "../../shared/runtime/clock.ts";
import type { KeyRing } from "./key-ring.ts";
import type { Limits } from "./limits.ts";

/** Role under which replicas tell each other what went through them. */
const ROLE = "spent";

export interface Sharing {
  readonly registry: Registry;
  readonly ring: KeyRing;
  readonly limits: Limits;
  readonly replica: string;
  readonly clock: Clock;
  readonly beatMs: number;
  readonly reach: Reach;
}

/** Learns of new and revoked keys with every beat, and what they spent elsewhere. Resolves once `stop` aborted. */
export async function shareLimitsUntil(sharing: Sharing, stop: AbortSignal): Promise<void> {
  const { registry, replica, clock, beatMs, reach } = sharing;
  while (!stop.aborted) {
    try {
      await clock.sleep(beatMs, stop);
      await share(sharing);
      reach.worked("keys");
    } catch (error) {
      if (!stop.aborted) reach.failed("keys", error);
    }
  }
  await registry.retire(ROLE, replica).catch(() => {}); // its beat ends by itself
}

async function share({ registry, ring, limits, replica }: Sharing): Promise<void> {
  await ring.look();
  if (!ring.limited) return;
  await registry.beat(ROLE, replica, limits.report());
  const others = new Map(await registry.beats(ROLE));
  others.delete(replica);
  limits.hear(others, (id) => ring.get(id));
}

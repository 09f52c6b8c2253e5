import type { Lane } from "../../shared/bus/events.ts";
import { jobsOf, type Load, type Owned } from "./backlog.ts";
import type { Speed } from "./times.ts";

/** More that may come. */
interface Room {
  readonly jobs: number;
  readonly tokens: number;
}

/**
 * The lane that a job is to wait in. A tenant has its share of the interactive one: prompts that take prefill less than `shareMs` before this one, and jobs for
 * half of decode's places. More of its work waits behind that of others, and where there are no others behind its own, in the order it came. There are no
 * shares while nobody knows what the workers can do, nor where nobody can be told from others. `owned`: its work; null: it is EVERYBODY.
 */
export function laneOf(shareMs: number, load: Load, { prefill, decode }: Speed, lane: Lane, owned: Owned | null): Lane {
  if (lane !== "interactive" || owned === null || !prefill.measured || decode.workers === 0) return lane;
  const { jobsIn, promptTokens } = owned;
  const isAlone = load.jobsIn.interactive === jobsIn.interactive;
  if (isAlone && jobsIn.surplus > 0) return "surplus";
  const hasRoom = promptTokens * 1_000 < shareMs * prefill.tokensPerSecond && 2 * jobsIn.interactive < decode.places;
  return hasRoom ? lane : "surplus";
}

/** What of the room that is free one tenant may take: as much as is left for others then, or all where it has nothing yet. EVERYBODY (null) may take all. */
export function tenantsOf(free: Room, owned: Owned | null): Room {
  if (owned === null || jobsOf(owned) === 0) return free;
  return { jobs: Math.floor((free.jobs - jobsOf(owned)) / 2), tokens: (free.tokens - owned.tokens) / 2 };
}

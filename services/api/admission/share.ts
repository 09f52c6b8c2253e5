import { ownerOf } from "../../shared/bus/enqueue.ts";
import type { JobRequest, Lane } from "../../shared/bus/events.ts";
import { EVERYBODY } from "../auth.ts";
import type { Load } from "./backlog.ts";
import { type Speed, waiting } from "./times.ts";

/** What may wait or be under way. */
export interface RoomLimits {
  readonly queueJobsMax: number;
  readonly backlogTokensMax: number;
}

/** More that may come. */
interface Room {
  readonly jobs: number;
  readonly tokens: number;
}

/**
 * The lane that a job is to wait in. A tenant has its share of the interactive one: prompts that take prefill less than `shareMs` before this one, and jobs for
 * half of decode's places. More of its work waits behind that of others, and where there are no others behind its own, in the order it came. There are no
 * shares while nobody knows what the workers can do, nor where nobody can be told from others.
 */
export function laneOf(
  shareMs: number,
  load: Load,
  { prefill, decode }: Speed,
  { lane, tenant }: Pick<JobRequest, "lane" | "tenant">,
): Lane {
  if (lane !== "interactive" || isEverybody(tenant) || !prefill.measured || decode.workers === 0) return lane;
  const { jobsIn, promptTokens } = load.owned(ownerOf(tenant));
  const isAlone = load.jobsIn.interactive === jobsIn.interactive;
  if (isAlone && jobsIn.surplus > 0) return "surplus";
  const hasRoom = promptTokens * 1_000 < shareMs * prefill.tokensPerSecond && 2 * jobsIn.interactive < decode.places;
  return hasRoom ? lane : "surplus";
}

/** What is free, and what of it one tenant may take: as much as is left for others then, or all where it has nothing yet. EVERYBODY may take all of it. */
export function roomFor(
  { queueJobsMax, backlogTokensMax }: RoomLimits,
  load: Load,
  tenant: string,
): { readonly free: Room; readonly tenants: Room } {
  const { prompt, output } = waiting(load);
  const free = { jobs: queueJobsMax - load.jobs, tokens: backlogTokensMax - prompt - output };
  const { jobs, tokens } = load.owned(ownerOf(tenant));
  if (isEverybody(tenant) || jobs === 0) return { free, tenants: free };
  return { free, tenants: { jobs: Math.floor((free.jobs - jobs) / 2), tokens: (free.tokens - tokens) / 2 } };
}

const isEverybody = (tenant: string): boolean => tenant === EVERYBODY.tenant;

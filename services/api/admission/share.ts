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
 * The lane that a job is to wait in. Interactive work of a tenant whose own takes the workers `shareMs` already waits behind that of others. There are no
 * shares until the workers have shown their speed, nor where nobody can be told from others.
 */
export function laneOf(
  shareMs: number,
  load: Load,
  { prefill, decode }: Speed,
  { lane, tenant }: Pick<JobRequest, "lane" | "tenant">,
): Lane {
  if (lane !== "interactive" || isEverybody(tenant) || !prefill.measured || !decode.measured) return lane;
  const { promptTokens, outputTokens } = load.owned(ownerOf(tenant));
  const seconds = Math.max(promptTokens / prefill.tokensPerSecond, outputTokens / decode.tokensPerSecond);
  return seconds * 1_000 < shareMs ? lane : "surplus";
}

/** What is free, and what of it one tenant may take: as much as is left for others then, or all where it has nothing yet. EVERYBODY may take all of it. */
export function roomFor(
  { queueJobsMax, backlogTokensMax }: RoomLimits,
  load: Load,
  tenant: string,
): { readonly free: Room; readonly own: Room } {
  const { prompt, output } = waiting(load);
  const free = { jobs: queueJobsMax - load.jobs, tokens: backlogTokensMax - prompt - output };
  const { jobs, tokens } = load.owned(ownerOf(tenant));
  if (isEverybody(tenant) || jobs === 0) return { free, own: free };
  return { free, own: { jobs: Math.floor((free.jobs - jobs) / 2), tokens: (free.tokens - tokens) / 2 } };
}

const isEverybody = (tenant: string): boolean => tenant === EVERYBODY.tenant;

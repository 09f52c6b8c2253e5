import type { JobEnd } from "../api/jobs/job-end.ts";
import type { BatchDeps } from "./lines-run.ts";
import { ANSWER_MS, postEnd, type Tried } from "./post-end.ts";
import type { Untaken } from "./untaken.ts";
import { endOf, type Untold, type UntoldEnds } from "./untold-ends.ts";

/** Tries of one end, and the time between them, doubled with each: 43 minutes from the first to the last. */
const TRIES_MAX = 10;
const RETRY_SECONDS = 5;
const RETRY_SECONDS_MAX = 1_800;

export type TellDeps = Pick<BatchDeps, "bus" | "config" | "log" | "readable"> & { readonly untaken: Untaken };

/**
 * Tells an end once more; each end is told at least once. The try is written to the record first, so that only one
 * coordinator makes it, and again once the end was taken, or given up after TRIES_MAX. Null if nothing was told: the end
 * is not to be told, not yet, or by another. Rejects if a write to the record failed; `ends` then keeps what to write.
 */
export async function tellEnd(deps: TellDeps, ends: UntoldEnds, untold: Untold, cut: AbortSignal): Promise<Tried | null> {
  const { bus, config, log, readable, untaken } = deps;
  const { kind } = ends;
  const { tenant, id } = untold;
  let known = untold;
  try {
    const document = await bus.documents.get(kind, tenant, id);
    const end = document === null ? null : readable(kind, document, () => endOf(kind, document));
    if (document === null || end?.webhook == null) return null;
    const write = (webhook: JobEnd["webhook"], after: number) =>
      bus.documents.put(kind, tenant, id, JSON.stringify({ ...(JSON.parse(document.text) as object), webhook }), after);
    if (known.isOver) {
      await write(null, document.place);
      return null;
    }
    const nowMs = await bus.log.nowMs();
    if (1_000 * end.webhook.nextAt > nowMs) {
      ends.putBack({ ...known, nextAt: end.webhook.nextAt }); // another tells it, and may die
      return null;
    }
    const tries = end.webhook.tries + 1;
    const waitSeconds = Math.max(Math.min(RETRY_SECONDS_MAX, RETRY_SECONDS * 2 ** end.webhook.tries), ANSWER_MS / 1_000);
    const nextAt = Math.floor(nowMs / 1_000) + waitSeconds;
    const place = await write({ tries, nextAt }, document.place);
    if (place === null) return null;
    known = { ...known, nextAt };
    const tried = await postEnd(config, end, nowMs, cut);
    if (tried.problem === null) untaken.worked();
    else if (cut.aborted) return null;
    else {
      log.debug({ [kind]: id, tries, problem: tried.problem }, "a webhook was not taken");
      untaken.failed(tried.problem, tries >= TRIES_MAX);
      if (tries < TRIES_MAX) return tried;
    }
    known = { ...known, nextAt: 0, isOver: true };
    await write(null, place);
    return tried;
  } catch (error) {
    ends.putBack(known);
    throw error;
  }
}

import { expect } from "vitest";
import type { Bus } from "../../services/shared/bus/contract.ts";
import { collect, faultsOf, finished, never, submitAndClaim, tokens } from "./bus.ts";

export const APPENDS = 600;

/**
 * Appends to a job's log, and ends it, while `harm` runs. What was acknowledged must be what the log has and what
 * `reader` saw, in order.
 */
export async function losesNothing(bus: Bus, reader: Bus, harm: (acknowledged: readonly number[]) => Promise<void>): Promise<void> {
  const claim = await submitAndClaim(bus, "job");
  const followed = collect(reader.log.follow("job", 0, never));
  const acknowledged: number[] = [];
  const writing = (async () => {
    for (let i = 0; i < APPENDS; i++) acknowledged.push((await claim.append(tokens(i, i)))?.sequence ?? 0);
    await claim.append(finished);
  })();
  await harm(acknowledged);
  await writing;
  const records = await bus.log.read("job");
  expect(faultsOf(records)).toEqual([]);
  expect(records.slice(2, -1).map(({ sequence }) => sequence)).toEqual(acknowledged);
  expect(await followed).toEqual(records);
}

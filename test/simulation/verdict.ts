import type { JobRequest, LogRecord } from "../../services/shared/bus/contract.ts";
import { alone, answered, requestOf, SEGMENT } from "../support/workers.ts";
import type { Customer, Order } from "./customer.ts";
import type { Fleet } from "./fleet.ts";
import { brief } from "./judge.ts";
import { ATTEMPTS_MAX, type World } from "./world.ts";

/** What the engine says alone, without a cluster. */
export type Expected = Awaited<ReturnType<typeof alone>>;

export const expectedOf = ({ ids, request }: Order): Promise<Expected> => alone(requestOf({ ...request, prompt: { ids } }));

/** Compares what the log says of a customer's job with what the engine says alone. */
export function inspect(world: World, fleet: Fleet, jobId: string, customer: Customer, expected: Expected): void {
  const log = world.judge.log(jobId);
  const faults = faultsOf(log, customer, expected, fleet);
  for (const fault of faults) world.judge.fault(`${jobId}: ${fault}`);
  if (faults.length > 0) for (const record of log) world.note("log", `${jobId} ${record.sequence} ${brief(record)}`);
}

function faultsOf(log: readonly LogRecord[], { order, cancelled }: Customer, expected: Expected, fleet: Fleet): string[] {
  const last = log.at(-1)!;
  const { request } = log[0]!.event as { request: JobRequest };
  const faults: string[] = [];
  const must = (holds: boolean, what: string) => holds || faults.push(what);
  const { ids } = answered(log);
  must(
    ids.every((id, i) => id === expected.ids[i]),
    `its ids are ${ids}, alone they are ${expected.ids}`,
  );
  switch (last.event.type) {
    case "finished": {
      const { reason, usage } = last.event;
      must(
        ids.length === expected.ids.length && reason === expected.reason,
        `${ids.length} tokens (${reason}), alone ${expected.ids.length} (${expected.reason})`,
      );
      must(usage.promptTokens === order.ids.length && usage.completionTokens === ids.length, `its usage is ${JSON.stringify(usage)}`);
      must(usage.cachedTokens <= order.sharedTokens, `${usage.cachedTokens} tokens cached, ${order.sharedTokens} of others`);
      break;
    }
    case "cancelled":
      must(cancelled, "nobody cancelled it");
      break;
    case "expired": {
      const livedMs = last.atMs - log[0]!.atMs;
      must(order.deadlineMs < 1e6, `it expired after ${livedMs} of ${order.deadlineMs} ms (${request.deadlineMs - log[0]!.atMs})`);
      break;
    }
    case "failed": {
      const blameless = log.filter(({ event }) => event.type === "claimed" && fleet.mishapsOf(event.worker) > 0).length;
      must(blameless >= ATTEMPTS_MAX, `it failed: ${last.event.message}`);
      break;
    }
    default:
      faults.push(`it did not end: ${brief(last)}`);
  }
  for (const { event } of log) {
    if (event.type === "handed_over") must(event.recomputed <= 160 + SEGMENT, `${event.recomputed} tokens were run again`);
  }
  return faults;
}

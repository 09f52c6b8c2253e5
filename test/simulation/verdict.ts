import { isTerminal, type JobEvent, type JobRequest, type LogRecord } from "../../services/shared/bus/events.ts";
import { type Alone, alone } from "../support/alone.ts";
import { answered, logprobsOf } from "../support/answers.ts";
import { requestOf } from "../support/workers.ts";
import { type Customer, engineOptions, type Order } from "./customer.ts";
import type { Fleet } from "./fleet.ts";
import { followed } from "./grammar.ts";
import { brief } from "./judge.ts";
import { ATTEMPTS_MAX, type World } from "./world.ts";

/** What the engine says alone, without a cluster. */
export const expectedOf = ({ ids, request }: Order): Promise<Alone> =>
  alone(requestOf({ ...request, prompt: { ids } }), engineOptions, followed());

/** Compares what the log says of a customer's job with what the engine says alone. */
export function inspect(world: World, fleet: Fleet, jobId: string, customer: Customer, expected: Alone): void {
  const log = world.judge.log(jobId);
  const faults = [...faultsOfAnswer(log, expected), ...faultsOfEnd(log, customer, expected, fleet), ...faultsOfWork(log)];
  const { deadlineMs } = requestIn(log);
  const early = world.weather.clockSet === null && world.judge.lastMs(jobId) < deadlineMs; // else it is unknown what that clock showed
  if (log.at(-1)!.event.type === "expired" && early) faults.push("it expired before its deadline");
  for (const fault of faults) world.judge.fault(`${jobId}: ${fault}`);
  if (faults.length > 0) for (const record of log) world.note("log", `${jobId} ${record.sequence} ${brief(record)}`);
}

/** However the job ended, its answer is how the engine's own begins. */
function* faultsOfAnswer(log: readonly LogRecord[], expected: Alone): Generator<string> {
  const { ids } = answered(log);
  const begins = (is: readonly unknown[], all: readonly unknown[]) => JSON.stringify(is) === JSON.stringify(all.slice(0, is.length));
  if (!begins(ids, expected.ids)) yield `its ids are ${ids}, alone they are ${expected.ids}`;
  else if (!begins(logprobsOf(log).slice(0, ids.length), expected.logprobs))
    yield "its log probabilities are not those of the engine alone";
}

function* faultsOfEnd(log: readonly LogRecord[], { order, cancelled }: Customer, expected: Alone, fleet: Fleet): Generator<string> {
  const last = log.at(-1)!;
  const { event } = last;
  if (!isTerminal(event)) yield `it did not end: ${brief(last)}`;
  if (event.type === "finished") yield* faultsOfFinish(log, event, order, expected);
  if (event.type === "cancelled" && !cancelled && event.by !== "the queue is full") yield "nobody cancelled it";
  if (event.type === "failed" && misfortunes(log, fleet) < ATTEMPTS_MAX) yield `it failed: ${event.message}`;
}

function* faultsOfFinish(log: readonly LogRecord[], { reason, usage }: Finished, order: Order, expected: Alone): Generator<string> {
  const { ids } = answered(log);
  if (ids.length !== expected.ids.length) yield `it has ${ids.length} tokens, alone ${expected.ids.length}`;
  if (reason !== expected.reason) yield `it ended with ${reason}, alone with ${expected.reason}`;
  if (usage.promptTokens !== order.ids.length || usage.completionTokens !== ids.length) yield `its usage is ${JSON.stringify(usage)}`;
  if (usage.cachedTokens > order.sharedTokens) yield `${usage.cachedTokens} tokens cached, ${order.sharedTokens} of others`;
}

const requestIn = (log: readonly LogRecord[]): JobRequest => (log[0]!.event as { request: JobRequest }).request;

/** Claims that may have led nowhere through no fault of the job. */
const misfortunes = (log: readonly LogRecord[], fleet: Fleet): number =>
  log.filter(({ event }) => event.type === "claimed" && fleet.mishapsOf(event.worker) > 0).length;

/** Without a boundary at its place, no more is run again than what rebuilds the windows. */
function* faultsOfWork(log: readonly LogRecord[]): Generator<string> {
  for (const { event } of log)
    if (event.type === "handed_over" && event.recomputed > engineOptions.replayTokens!) yield `${event.recomputed} tokens were run again`;
}

type Finished = Extract<JobEvent, { type: "finished" }>;

import { expect, test } from "vitest";
import { Backlog, jobsOf, type Load } from "../../../services/api/admission/backlog.ts";
import type { JobQueue, Waiting } from "../../../services/shared/bus/contract.ts";
import type { Phase } from "../../../services/shared/bus/events.ts";
import { openBus } from "../../../services/shared/bus/open.ts";
import { systemClock } from "../../../services/shared/runtime/clock.ts";
import { overriding } from "../../support/overriding.ts";

const waiting = (jobId: string, promptTokens: number, more: Partial<Waiting> = {}): Waiting => ({
  ...{ jobId, model: "m", lane: "interactive", promptTokens, outputTokens: 1, owner: "t", ...more },
});
const load = (jobs: number, interactive: number, batch = 0, outputs = jobs) => ({
  ...{ jobs, prompts: { interactive, surplus: 0, batch }, outputTokens: { interactive: outputs, surplus: 0, batch: jobs - outputs } },
});
/** A load as it is now. */
const now = ({ jobsIn, prompts, outputTokens }: Load) => ({
  ...{
    jobs: jobsOf({ jobsIn }),
    prompts: { interactive: prompts.interactive.tokens(), surplus: prompts.surplus.tokens(), batch: prompts.batch.tokens() },
  },
  outputTokens: { ...outputTokens },
});

/** The backlog of model m over queues that say what they are told to, which takes them 1 ms each; `later` lets the next look begin. */
function backlogOver(queues: JobQueue["messages"]) {
  let ms = 0;
  const messages: JobQueue["messages"] = (phase) => {
    ms++;
    return queues(phase);
  };
  const bus = openBus({ url: "memory:" });
  const clock = overriding(systemClock, { monotonicMs: () => ms });
  return {
    backlog: new Backlog({ ...bus, queue: overriding(bus.queue, { messages }) }, clock, "m"),
    later: () => {
      ms += 1_000;
    },
  };
}

test("what waits in the queues counts by lane, in decode without its prompt, of other models not", async () => {
  const queues: Record<Phase, Waiting[]> = {
    prefill: [waiting("a", 10), waiting("b", 20, { lane: "batch" }), waiting("c", 40, { model: "another" })],
    decode: [waiting("d", 80)],
  };
  const { backlog } = backlogOver(async (phase) => queues[phase]);
  expect(now(await backlog.load())).toEqual(load(3, 10, 20, 2));
});

test("a job counts from when it is added until a look that began behind its message, and once", async () => {
  const prefill: Waiting[] = [];
  const { backlog, later } = backlogOver(async (phase) => (phase === "prefill" ? [...prefill] : []));
  const seen = async () => {
    later();
    return now(await backlog.load());
  };
  expect(await seen()).toEqual(load(0, 0));
  const { queued } = backlog.add(waiting("a", 10));
  expect(now(await backlog.load())).toEqual(load(1, 10)); // without a look
  expect(await seen()).toEqual(load(1, 10)); // not in the queue, so far as anybody knows
  queued();
  prefill.push(waiting("a", 10));
  expect(await seen()).toEqual(load(1, 10));
  prefill.pop();
  expect(await seen()).toEqual(load(0, 0));
});

test("a job that is not on its way any more counts no longer, whether it was looked for meanwhile or not", async () => {
  const { backlog, later } = backlogOver(async () => []);
  await backlog.load();
  const [before, after] = [backlog.add(waiting("a", 10)), backlog.add(waiting("b", 20, { lane: "batch" }))];
  before.forget();
  expect(now(backlog.known)).toEqual(load(1, 0, 20, 0));
  later();
  expect(now(await backlog.load())).toEqual(load(1, 0, 20, 0));
  after.forget();
  expect(now(backlog.known)).toEqual(load(0, 0));
  later();
  expect(now(await backlog.load())).toEqual(load(0, 0));
});

test("a job that is added while the queues are looked at counts beside what they hold", async () => {
  const looks: ((jobs: Waiting[]) => void)[] = [];
  const { backlog, later } = backlogOver((phase) =>
    phase === "decode" ? Promise.resolve([]) : new Promise((resolve) => looks.push(resolve)),
  );
  const first = backlog.load();
  backlog.add(waiting("a", 10)).queued();
  looks[0]!([waiting("b", 20)]);
  expect(now(await first)).toEqual(load(2, 30));
  later();
  const second = backlog.load();
  looks[1]!([waiting("b", 20), waiting("a", 10)]);
  expect(now(await second)).toEqual(load(2, 30));
});

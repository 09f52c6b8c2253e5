import { expect, test } from "vitest";
import { prefillWorker } from "../../../services/prefill/worker.ts";
import { openBus } from "../../../services/shared/bus/open.ts";
import { openWeightlessEngine } from "../../../services/shared/engine/weightless/weightless.ts";
import { silentLog } from "../../../services/shared/runtime/log.ts";
import { openMetrics } from "../../../services/shared/runtime/metrics.ts";
import type { SegmentStore } from "../../../services/shared/segments/contract.ts";
import { MemoryStore } from "../../../services/shared/segments/memory-store.ts";
import { Pulse } from "../../../services/shared/worker/pulse.ts";
import { grammars, promptIds } from "../../support/model.ts";
import { overriding } from "../../support/overriding.ts";
import { VirtualClock } from "../../support/virtual-clock.ts";
import { requestOf, settings, submitJob } from "../../support/workers.ts";

const SEGMENT = 128;
const CLAIM_MS = 20_000;

test("a prompt whose store answers late, but in time, is claimed once", async () => {
  const clock = new VirtualClock();
  const bus = openBus({ url: "memory:", claimMs: CLAIM_MS, attemptsMax: 5, clock });
  const inner = new MemoryStore({ bytesMax: 1e9, ttlMs: { segment: 1e9, boundary: 1e9 }, clock, log: silentLog });
  let lateMs = 0;
  const late = async (): Promise<void> => (lateMs === 0 ? undefined : clock.sleep(lateMs));
  const store: SegmentStore = overriding<SegmentStore>(inner, {
    /** Two exchanges, as for 17 to 47 segments in Redis. */
    countPrefix: async (keys) => {
      await late();
      await late();
      return inner.countPrefix(keys);
    },
    get: async (...asked) => late().then(() => inner.get(...asked)),
    claim: async (...asked) => late().then(() => inner.claim(...asked)),
  });
  const engine = openWeightlessEngine({
    ...{ vocabSize: 500, segmentTokens: SEGMENT, replayTokens: 160, chunkTokens: 2_048, contextTokens: 65_536 },
    ...{ clock, turn: () => clock.sleep(0) },
  });
  const deps = {
    bus,
    engine,
    engineFailure: () => null,
    grammars,
    pulse: new Pulse(),
    store,
    clock,
    log: silentLog,
    metrics: openMetrics(),
  };
  const stop = new AbortController();
  const worker = { ...settings, claimMs: CLAIM_MS, beatMs: 1_000, boundaryTokens: 8_192, kvBytes: 1e12, worker: "prefill" };
  const running = prefillWorker(deps, worker, stop.signal);
  const run = async (id: string, tokens: number) => {
    await submitJob(bus, id, requestOf({ prompt: { ids: promptIds(tokens) }, deadlineMs: clock.nowMs() + 1e9 }));
    for (;;) {
      const records = await bus.log.read(id);
      if (["handed_over", "failed"].includes(records.at(-1)!.event.type)) return records.map(({ event }) => event.type);
      await clock.sleep(100);
    }
  };
  await clock.run(run("first", 40 * SEGMENT + 1));
  lateMs = 4_500;
  const events = await clock.run(run("second", 60 * SEGMENT + 1));
  expect(events.filter((type) => type !== "progress")).toEqual(["submitted", "claimed", "handed_over"]);
  stop.abort();
  await clock.run(running);
});

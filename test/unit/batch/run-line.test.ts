import { expect, test } from "vitest";
import { Admission } from "../../../services/api/admission/admission.ts";
import { openServedModel } from "../../../services/api/model.ts";
import { runLine } from "../../../services/batch/run-line.ts";
import { openBus } from "../../../services/shared/bus/open.ts";
import { systemClock } from "../../../services/shared/runtime/clock.ts";
import { loadConfig } from "../../../services/shared/runtime/config.ts";
import { systemRandom } from "../../../services/shared/runtime/random.ts";
import { playJob } from "../../support/api.ts";
import { chatLine } from "../../support/batches.ts";
import { never } from "../../support/bus.ts";

test("an answer that a predecessor asked for is the line's, though its batch was cancelled before this coordinator came to it", async () => {
  const bus = openBus({ url: "memory:" });
  const config = loadConfig({});
  const model = await openServedModel(config);
  const admission = new Admission(bus, systemClock, model.name, config);
  const deps = { bus, model, config, admission, clock: systemClock, random: systemRandom, stopping: never };
  const expiresAt = Math.floor(Date.now() / 1_000) + 3_600;
  const batch = { id: "batch_00000000000000000000", tenant: "t", endpoint: "/v1/chat/completions", expiresAt } as const;
  const bytes = Buffer.from(JSON.stringify(chatLine("a", "Where?")));
  const about = { batch, line: 0, number: 1, read: async () => bytes, dropped: () => {}, turn: async () => {}, stop: never };
  const predecessor = runLine(deps, { ...about, ending: never });
  await playJob(bus, model.name, { ids: [300, 301] });
  const answered = await predecessor;
  expect(answered).toMatchObject({ kind: "output", usage: { outputTokens: 2 } });
  expect(await runLine(deps, { ...about, ending: AbortSignal.abort("cancelled") })).toEqual(answered);
});

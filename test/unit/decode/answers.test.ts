import { afterEach, expect, test } from "vitest";
import { alone, promptIds, requestOf, type TestCluster, testCluster } from "../../support/workers.ts";

let cluster: TestCluster;
afterEach(() => cluster.close());

test("a job through prefill and decode gives the ids of the engine alone", async () => {
  cluster = testCluster();
  const prefill = cluster.start("prefill");
  const decode = cluster.start("decode");
  const request = { prompt: { ids: promptIds(700) }, maxTokens: 200 };
  const jobId = await cluster.submit(request);
  const { ids, end } = await cluster.answer(jobId);
  const expected = await alone(requestOf(request));
  expect(ids).toEqual(expected.ids);
  expect(end).toEqual({
    type: "finished",
    reason: expected.reason,
    usage: { promptTokens: 700, completionTokens: expected.ids.length, cachedTokens: 0 },
  });
  await cluster.close();
  expect([prefill.engine.held, decode.engine.held]).toEqual(Array(2).fill({ sequences: 0, memories: 0 }));
});

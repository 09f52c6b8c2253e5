import { expect, test } from "vitest";
import { cancelJob } from "../../../services/api/jobs/jobs.ts";
import { openBus } from "../../../services/shared/bus/open.ts";
import { playText, testApi } from "../../support/api.ts";
import { submitAndClaim } from "../../support/bus.ts";

test("whoever cancels a job ends it only where nobody holds it: its holder writes down first what it has drawn", async () => {
  const bus = openBus({ url: "memory:" });
  const last = async () => (await bus.log.last("job"))?.event.type;
  const claim = await submitAndClaim(bus, "job");
  expect([await cancelJob(bus, "job", "client"), await last()]).toEqual([true, "claimed"]);
  expect(await bus.registry.cancelMark("job")).toBe("client");
  await claim.append({ type: "released", reason: "drained", excused: true });
  expect([await cancelJob(bus, "job", "client"), await last()]).toEqual([true, "cancelled"]);
  expect(await cancelJob(bus, "job", "client")).toBe(false);
});

test("what came of an answer is told until there is a result, and for good where it was cancelled", async () => {
  const api = await testApi();
  const ask = async (path: string, body?: object) => {
    const post = { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) };
    return (await (await fetch(api.url + path, body && post)).json()) as { id: string; result: object | null; partial: object | null };
  };
  const request = { model: "yardlog", messages: [{ role: "user", content: "Where is red-fox?" }], thinking: { type: "disabled" } };
  const jobs = [await ask("/v1/jobs", { kind: "chat", request }), await ask("/v1/jobs", { kind: "chat", request })];
  const path = `/v1/jobs/${jobs[0]!.id}`;
  expect(await ask(path)).toMatchObject({ result: null, partial: null });
  const text = "In bay 42.";
  const partial = { role: "assistant", content: text };
  await playText(api, text, async (claim) => {
    expect(await ask(path)).toMatchObject({ status: "decode", result: null, partial });
    await claim.append({ type: "cancelled", by: "a request to cancel it" });
  });
  expect(await ask(path)).toMatchObject({ status: "cancelled", result: null, partial, error: { code: "cancelled" } });
  await playText(api, text);
  expect(await ask(`/v1/jobs/${jobs[1]!.id}`)).toMatchObject({ result: { choices: [{ message: partial }] }, partial: null });
  await api.close();
});

import { afterAll, beforeAll, expect, test } from "vitest";
import type { Bus } from "../../services/shared/bus/contract.ts";
import { openBus } from "../../services/shared/bus/open.ts";
import { playJob, type TestApi, testApi } from "../support/api.ts";
import { NatsServer } from "../support/nats.ts";

let server: NatsServer;
let bus: Bus;
let api: TestApi;

beforeAll(async () => {
  server = await NatsServer.start();
  bus = openBus({ url: server.url, logMaxBytes: 1_048_576, payloadsMaxBytes: 1e7 });
  await bus.ready(60_000);
  api = await testApi({}, bus);
});
afterAll(async () => {
  await api.close();
  await bus.close();
  await server.stop();
});

const call = (method: string, path: string, body?: unknown) =>
  fetch(api.url + path, {
    method,
    ...(body === undefined ? {} : { body: JSON.stringify(body), headers: { "content-type": "application/json" } }),
  });
const submit = (promptTokens: number) =>
  call("POST", "/v1/jobs", {
    kind: "completion",
    request: { model: "yardlog", max_tokens: 50, prompt: new Array<number>(promptTokens).fill(7) },
  });
const statusOf = async (jobId: string) => (await (await call("GET", `/v1/jobs/${jobId}`)).json()) as { status: string };

test("at 80 % of the log new work is 429, what was taken runs to its end, and deleting ended jobs makes room", async () => {
  const taken: string[] = [];
  let refused: Response | null = null;
  for (let i = 0; i < 100 && refused === null; i++) {
    const response = await submit(16_000);
    if (response.status === 202) taken.push(((await response.json()) as { id: string }).id);
    else refused = response;
  }
  expect([refused?.status, Number(refused?.headers.get("retry-after"))]).toEqual([429, 5]);
  expect(taken.length).toBeGreaterThan(20);
  expect(await bus.registry.jobs(1_000), "a refused job leaves nothing in the index").toHaveLength(taken.length);

  const [first, second] = taken;
  expect((await call("DELETE", `/v1/jobs/${first}`)).status, "it has not ended").toBe(409);
  const ids = [...(await api.tokenizer.encode("Bay 42."))];
  for (const _ of taken) await playJob(bus, "yardlog", { ids });
  for (const jobId of taken) expect(await statusOf(jobId)).toMatchObject({ status: "finished" });
  for (const jobId of taken.slice(1)) expect(await (await call("DELETE", `/v1/jobs/${jobId}`)).json()).toMatchObject({ deleted: true });
  expect((await call("GET", `/v1/jobs/${second}`)).status).toBe(404);
  await expect.poll(async () => (await submit(16_000)).status, { timeout: 20_000 }).toBe(202); // how full it is is known to a second
});

test("deleting a job removes its payload too", async () => {
  const { id } = (await (await submit(40_000)).json()) as { id: string };
  expect(await bus.payloads.get(id)).not.toBeNull();
  await call("POST", `/v1/jobs/${id}/cancel`);
  expect((await call("DELETE", `/v1/jobs/${id}`)).status).toBe(200);
  expect([await bus.payloads.get(id), (await bus.registry.jobs(100)).some(({ jobId }) => jobId === id)]).toEqual([null, false]);
});

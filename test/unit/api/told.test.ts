import { afterAll, beforeAll, expect, test } from "vitest";
import { parseEvents } from "../../../services/cli/server-events.ts";
import { playText, type TestApi, testApi } from "../../support/api.ts";
import { held } from "../../support/bus.ts";

const SECRET = "ENOENT: /srv/models/secret";
const HIDDEN = "internal error; the server's log has the details under this request or job id";

let api: TestApi;
beforeAll(async () => {
  api = await testApi({ beatMs: 100 });
});
afterAll(() => api.close());

const get = async (path: string) => (await fetch(api.url + path)).text();

/** A job that a worker gave back with its own words, and that then failed: once it stands among the failed ones. */
async function failed(code: string, message: string): Promise<string> {
  const submit = { kind: "completion", request: { model: "yardlog", prompt: "Yard log." } };
  const post = { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(submit) };
  const { id } = (await (await fetch(`${api.url}/v1/jobs`, post)).json()) as { id: string };
  await playText(api, "In bay", async (claim) => void (await claim.append({ type: "released", reason: SECRET })));
  await held(await api.bus.log.claim(id, "decode", "second")).append({ type: "failed", code, message });
  await expect.poll(() => get("/v1/jobs?status=failed"), { timeout: 20_000 }).toContain(id);
  return id;
}

/** What the events of a job say, by their names. */
async function eventsOf(id: string) {
  const { body } = await fetch(`${api.url}/v1/jobs/${id}/events`);
  const said: [string, { readonly reason?: string }][] = [];
  for await (const { name, data } of parseEvents(body!.pipeThrough(new TextDecoderStream()))) said.push([name, JSON.parse(data)]);
  return said;
}

test.each([
  ["INTERNAL", `5 workers in a row could not do this job: ${SECRET}`, HIDDEN],
  ["BAD_CHECKPOINT", `kernels: ${SECRET}`, HIDDEN],
  ["OF_A_NEWER_VERSION", SECRET, HIDDEN],
  ["DAMAGED", "event 3 could not be read before the deadline", "event 3 could not be read before the deadline"],
])("of a job that failed with %s its tenant reads the same everywhere, and nothing of ours", async (code, message, told) => {
  const id = await failed(code, message);
  const said = await eventsOf(id);
  const [job, list, stream] = await Promise.all([`/v1/jobs/${id}`, "/v1/jobs?status=failed", `/v1/jobs/${id}/stream`].map(get));
  for (const text of [job, list, stream, JSON.stringify(said)]) expect(text).not.toContain("secret");
  const { error, timeline } = JSON.parse(job!) as { error: { message: string }; timeline: { stage: string; why?: string }[] };
  expect(error.message).toBe(told);
  const why = timeline.flatMap(({ stage, why }) => (why === undefined ? [] : [[stage, why]]));
  expect(why).toEqual([
    ["queued", "submitted"],
    ["queued", HIDDEN],
    ["ended", `${code}: ${told}`],
  ]);
  expect(said.find(([name]) => name === "released")![1].reason).toBe(HIDDEN);
  expect(said.at(-1)).toMatchObject(["failed", { code, message: told }]);
  const { data } = JSON.parse(list!) as { data: { id: string; error: object }[] };
  expect(data.find((listed) => listed.id === id)!.error).toEqual({ code, message: told });
});

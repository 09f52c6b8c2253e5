import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { afterAll, beforeAll, expect, test } from "vitest";
import { endOf, endText } from "../../../services/api/jobs/job-end.ts";
import { Webhooks } from "../../../services/batch/webhooks.ts";
import { openBus } from "../../../services/shared/bus/open.ts";
import { systemClock } from "../../../services/shared/runtime/clock.ts";
import { loadConfig } from "../../../services/shared/runtime/config.ts";
import { silentLog } from "../../../services/shared/runtime/log.ts";
import { finished, request } from "../../support/bus.ts";

const CHAT = JSON.stringify({ surface: "chat" });
const told = new Set<string>();
const receiver = createServer((request, response) => {
  told.add(String(request.headers["webhook-id"]));
  request.resume().on("end", () => response.end());
});

beforeAll(async () => {
  await once(receiver.listen(0, "127.0.0.1"), "listening");
});
afterAll(() => {
  receiver.closeAllConnections();
  receiver.close();
});

test("ends that fill their room are told, and make some", async () => {
  const bus = openBus({ url: "memory:", endsMaxBytes: 65_536 });
  const config = loadConfig({
    LONGSHORE_WEBHOOK_URL: `http://127.0.0.1:${(receiver.address() as AddressInfo).port}/hook`,
    LONGSHORE_WEBHOOK_SECRET: `whsec_${Buffer.alloc(24).toString("base64")}`,
  });
  const last = { sequence: 1, previous: 0, epoch: 1, attempt: 1, tokenCount: 0, phase: "prefill", atMs: 0, event: finished } as const;
  const nowMs = await bus.log.nowMs();
  const end = (jobId: string) => endText(endOf({ ...last, jobId }, request({ view: CHAT }), nowMs));
  const put = (id: string) => bus.documents.put("event", "t", id, end(id), 0);
  let ends = 0;
  const full = async () =>
    put(`job_${ends++}`).then(
      () => false,
      ({ code }: { code: string }) => code === "OVERLOADED",
    );
  while (!(await full()));
  const stored = (await bus.documents.behind("event", "t", 0, 1_000)).length;
  told.clear();
  const webhooks = new Webhooks({ bus, clock: systemClock, config, log: silentLog, readable: (_, document, read) => read(document) });
  const untold = async () => {
    await webhooks.look();
    return (await bus.documents.behind("event", "t", 0, 1_000)).filter(({ text }) => !text.includes('"webhook":null')).length;
  };
  await expect.poll(untold, { timeout: 60_000 }).toBe(0);
  expect(told.size).toBe(stored);
  expect(await put("another")).not.toBeNull();
});

import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { expect, test } from "vitest";
import { Webhooks } from "../../../services/batch/webhooks.ts";
import { openBus } from "../../../services/shared/bus/open.ts";
import { loadConfig } from "../../../services/shared/runtime/config.ts";
import { silentLog } from "../../../services/shared/runtime/log.ts";

test("an end that nobody takes is told ten times, ever later, and then given up", async () => {
  let tries = 0;
  const receiver = createServer((request, response) => {
    tries++;
    request.resume();
    response.writeHead(500).end();
  }).listen(0, "127.0.0.1");
  await once(receiver, "listening");
  const bus = openBus({ url: "memory:" });
  const config = loadConfig({
    LONGSHORE_WEBHOOK_URL: `http://127.0.0.1:${(receiver.address() as AddressInfo).port}`,
    LONGSHORE_WEBHOOK_SECRET: `whsec_${Buffer.alloc(24).toString("base64")}`,
  });
  const webhooks = new Webhooks({ bus, config, log: silentLog, readable: (_, document, read) => read(document) });
  const end = { type: "job.finished", id: "job_1", endedAt: 1_000, webhook: { tries: 0, nextAt: 1_000 } };
  await bus.documents.put("event", "t", "job_1", JSON.stringify(end), 0);
  const webhook = async () => (JSON.parse((await bus.documents.get("event", "t", "job_1"))!.text) as typeof end).webhook;
  const waits: number[] = [];
  let now = 1_000;
  for (let told = 1; told <= 10; told++) {
    await expect
      .poll(
        async () => {
          await webhooks.hear();
          webhooks.tellDue(1_000 * now - 1); // not yet
          webhooks.tellDue(1_000 * now);
          return tries;
        },
        { interval: 5, timeout: 20_000 },
      )
      .toBe(told);
    if (told === 10) break;
    const { nextAt } = await webhook();
    waits.push(nextAt - now);
    now = nextAt;
  }
  expect(waits).toEqual([10, 10, 20, 40, 80, 160, 320, 640, 1_280]);
  await expect.poll(webhook, { timeout: 20_000 }).toBeNull();
  receiver.close();
});

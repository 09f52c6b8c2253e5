import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { openServedModel } from "../../services/api/model.ts";
import { coordinate } from "../../services/batch/coordinator.ts";
import { busFromConfig } from "../../services/shared/bus/from-config.ts";
import { atMost } from "../../services/shared/runtime/at-most.ts";
import { systemClock } from "../../services/shared/runtime/clock.ts";
import { loadConfig } from "../../services/shared/runtime/config.ts";
import { silentLog } from "../../services/shared/runtime/log.ts";
import { openMetrics } from "../../services/shared/runtime/metrics.ts";
import { systemRandom } from "../../services/shared/runtime/random.ts";
import { NatsServer } from "../support/nats.ts";
import { told } from "../support/told.ts";

const USAGE = `npx tsx test/bench/webhooks.ts [--ends N] [--coordinators N] [--answer-ms N] [--seconds N]

Puts N ends of jobs (5000) into a real nats-server, and has N coordinators (1), each a process, tell them to a receiver that answers after so long (0).
Prints how many it was told a second, from the first on, how many of them twice, how many it was told at once, and the coordinators' processor time and memory. Ends after --seconds (30) or when all are told.`;

const { options } = told(USAGE, { ends: 5_000, coordinators: 1, "answer-ms": 0, seconds: 30, coordinator: false });

if (options.coordinator) {
  const config = loadConfig(process.env);
  const bus = busFromConfig(config);
  await bus.ready(60_000);
  const stop = new AbortController();
  const model = await openServedModel(config);
  process.send?.("ready");
  await once(process, "message");
  process.once("message", () => stop.abort(new Error("told to stop")));
  await coordinate({ bus, model, config, log: silentLog, metrics: openMetrics(), clock: systemClock, random: systemRandom }, stop.signal);
  const { user, system } = process.cpuUsage();
  process.send?.({ cpuMs: (user + system) / 1_000, rssMb: process.memoryUsage().rss / 1e6 });
  await bus.close();
  process.disconnect?.();
} else {
  const seen = new Map<string, number>();
  let open = 0;
  let openMost = 0;
  let firstMs = 0;
  let lastMs = 0;
  const receiver = createServer((request, response) => {
    openMost = Math.max(openMost, ++open);
    firstMs ||= performance.now();
    const id = String(request.headers["webhook-id"]);
    request.resume();
    setTimeout(() => {
      open--;
      seen.set(id, (seen.get(id) ?? 0) + 1);
      lastMs = performance.now();
      response.end();
    }, options["answer-ms"]);
  }).listen(0, "127.0.0.1");
  await once(receiver, "listening");
  const server = await NatsServer.start();
  const env = {
    ...process.env,
    LONGSHORE_ENGINE: "weightless",
    LONGSHORE_NATS_URL: server.url,
    LONGSHORE_WEBHOOK_URL: `http://127.0.0.1:${(receiver.address() as AddressInfo).port}/hook`,
    LONGSHORE_WEBHOOK_SECRET: `whsec_${Buffer.alloc(24).toString("base64")}`,
  };
  const bus = busFromConfig(loadConfig(env));
  await bus.ready(60_000);
  const ids = Array.from({ length: options.ends }, () => systemRandom.id("job_"));
  await atMost(64, ids, async (id) => {
    const end = { type: "job.finished", id, endedAt: 1_000, webhook: { tries: 0, nextAt: 0 } };
    await bus.documents.put("event", "t", id, JSON.stringify(end), 0);
  });
  const children: ChildProcess[] = [];
  for (let i = 0; i < options.coordinators; i++) {
    const child = fork(fileURLToPath(import.meta.url), ["--coordinator"], { env });
    children.push(child);
    await once(child, "message");
  }
  for (const child of children) child.send("go");
  const endMs = performance.now() + 1_000 * options.seconds;
  while (seen.size < options.ends && performance.now() < endMs) await sleep(50);
  const toldCount = seen.size;
  const took = (lastMs - firstMs) / 1_000;
  const used = await Promise.all(
    children.map(async (child) => {
      const said = once(child, "message");
      child.send("stop");
      return (await said)[0] as { cpuMs: number; rssMb: number };
    }),
  );
  const twice = [...seen.values()].filter((times) => times > 1).length;
  const spent = used.map(({ cpuMs, rssMb }) => `${cpuMs.toFixed(0)} ms, ${rssMb.toFixed(0)} MB`).join("; ");
  console.log(
    `${options.coordinators} x, ${options["answer-ms"]} ms: ${toldCount} told in ${took.toFixed(1)} s, ${(toldCount / took).toFixed(1)}/s, ${twice} twice, ${openMost} at once; ${spent}`,
  );
  await bus.close();
  receiver.closeAllConnections();
  receiver.close();
  await server.stop();
}

import { spawn } from "node:child_process";
import { once } from "node:events";
import { expect, test } from "vitest";
import { evaluated } from "../support/program.ts";

/** A process with a thread in a native call that does not return, as an engine that hangs; it says "up" and then runs until it is stopped. */
const hanging = `
  import { Worker } from "node:worker_threads";
  import { runUntilStopped } from "./services/shared/runtime/lifecycle.ts";
  import { openLog } from "./services/shared/runtime/log.ts";
  new Worker('import("node:child_process").then(({ spawnSync }) => spawnSync("sleep", ["30"]))', { eval: true }).on("online", () => console.log("up"));
  await runUntilStopped(openLog("test", "info"), 300, () => new Promise(() => {}));
`;

test("a process whose native thread hangs is gone when its drain is over, not when the thread returns", async () => {
  const child = spawn(process.execPath, evaluated(hanging), { stdio: ["ignore", "pipe", "inherit"] });
  await Promise.race([once(child.stdout, "data"), once(child, "exit")]);
  const beforeMs = performance.now();
  child.kill("SIGTERM");
  expect(await once(child, "exit")).toEqual([null, "SIGKILL"]);
  expect(performance.now() - beforeMs).toBeLessThan(10_000);
});

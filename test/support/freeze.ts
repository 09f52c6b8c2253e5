import type { ChildProcess } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";

const FREEZING_MS_MAX = 60_000;

/**
 * Sends SIGSTOP and waits for it: when `kill` returns, the signal is sent but not carried out, and on a busy machine a
 * thread of the process may still answer a request. Resolves once every thread has stopped, or the process is gone.
 * Linux.
 */
export async function freeze(child: ChildProcess): Promise<void> {
  child.kill("SIGSTOP");
  const deadline = performance.now() + FREEZING_MS_MAX;
  while (child.exitCode === null && child.signalCode === null && child.pid !== undefined && !allStopped(child.pid)) {
    if (performance.now() > deadline) throw new Error(`process ${child.pid} still runs ${FREEZING_MS_MAX} ms after SIGSTOP`);
    await sleep(1);
  }
}

function allStopped(pid: number): boolean {
  try {
    return readdirSync(`/proc/${pid}/task`).every((thread) => {
      const stat = readFileSync(`/proc/${pid}/task/${thread}/stat`, "utf8");
      return "TZ".includes(stat.charAt(stat.lastIndexOf(")") + 2));
    });
  } catch (error) {
    // It, or a thread of it, ended while we looked.
    if (["ENOENT", "ESRCH"].includes((error as NodeJS.ErrnoException).code ?? "")) return false;
    throw error;
  }
}

import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { refusal, ServingError } from "../../shared/runtime/errors.ts";

/** Where a cluster keeps its logs and its record. */
export function makeFolder(path: string): void {
  try {
    mkdirSync(path, { recursive: true });
  } catch (cause) {
    throw refusal(`${path} cannot hold logs and the record: ${(cause as Error).message}; name another with --state`, { cause });
  }
}

/** Two servers over one record would destroy it. Call the result when the last process has ended. */
export function lock(stateDir: string): () => void {
  const path = join(stateDir, "cluster.pid");
  const [holder = 0, begun = ""] = existsSync(path) ? readFileSync(path, "utf8").split(" ") : [];
  const pid = Number(holder);
  if (pid > 0 && pid !== process.pid && isAlive(pid) && (begun === "" || begun === begunAt(pid)))
    throw new ServingError("UNAVAILABLE", `process ${pid} runs a cluster in ${stateDir}; stop it, or name another folder with --state`);
  writeFileSync(path, `${process.pid} ${begunAt(process.pid)}`);
  return () => rmSync(path, { force: true });
}

function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EPERM";
  }
}

/** When a process began, in a word; empty where the system does not say. A number is soon another process's, above all in a container. */
function begunAt(pid: number): string {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
    return stat.slice(stat.lastIndexOf(")") + 2).split(" ")[19] ?? ""; // proc(5): field 22, the third stands behind the name
  } catch {
    return "";
  }
}

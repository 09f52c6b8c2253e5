import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { availableParallelism, cpus } from "node:os";

/** What figures depend on. */
export interface Machine {
  /** Names the file of results: one for each kind of processor and number of cores. */
  readonly id: string;
  readonly cores: number;
  /** "unknown" outside a repository; with "+" where files differ from it. */
  readonly commit: string;
}

export function thisMachine(): Machine {
  const cores = availableParallelism();
  return { id: `${slug(processor())}-${cores}`, cores, commit: commit() };
}

/** Hypervisors hide model names, so family, model and stepping stand beside it where the system tells them. */
function processor(): string {
  const name = cpus()[0]?.model ?? process.arch;
  try {
    const info = readFileSync("/proc/cpuinfo", "utf8");
    const field = (label: string) => new RegExp(`^${label}\\s*: (.*)$`, "m").exec(info)?.[1] ?? "";
    return [name, field("cpu family"), field("model"), field("stepping")].join(" ");
  } catch {
    return name;
  }
}

const slug = (text: string): string =>
  text
    .toLowerCase()
    .replace(/\((r|tm)\)|cpu|processor/g, " ")
    .replace(/[^a-z0-9]+/g, "-")
    .replace(/^-|-$/g, "");

function commit(): string {
  try {
    const git = (...args: string[]) => execFileSync("git", args, { encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] }).trim();
    const changed = git("status", "--porcelain", "--untracked-files=no", "--", ":!test/bench/results") !== "";
    return `${git("rev-parse", "--short=10", "HEAD")}${changed ? "+" : ""}`;
  } catch {
    return "unknown";
  }
}

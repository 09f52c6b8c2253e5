import { spawn } from "node:child_process";

const WORDS_SHOWN = 2_000;

/** What a run of a command said on stdout. Rejects with the end of what it said where it failed or took longer than `ms`. */
function command(program: string, args: readonly string[], { ms }: { readonly ms: number }): Promise<string> {
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, { env: environment, stdio: ["ignore", "pipe", "pipe"], timeout: ms });
    let said = "";
    let all = "";
    child.stdout.on("data", (text: Buffer) => {
      said += text;
      all = (all + text).slice(-WORDS_SHOWN);
    });
    child.stderr.on("data", (text: Buffer) => {
      all = (all + text).slice(-WORDS_SHOWN);
    });
    child.on("error", reject);
    child.on("close", (code, signal) => {
      if (code === 0) return resolve(said);
      const why = signal === null ? `ended with ${code}` : `took longer than ${ms / 1000} s`;
      reject(new Error(`${program} ${args.join(" ")} ${why}:\n${all}`));
    });
  });
}

/** Nobody's settings: those of the shell would be handed on to the containers. */
const environment = Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith("LONGSHORE_")));

/** Of its own, so that it neither meets nor removes the record of a cluster that runs here. */
export const PROJECT = `longshore-walk-${process.pid}`;

export const compose = (args: readonly string[], ms: number): Promise<string> =>
  command("docker", ["compose", "--project-name", PROJECT, "--env-file", "/dev/null", ...args], { ms });

/** Why nothing can be walked here; null where it can. */
export async function absence(): Promise<string | null> {
  for (const args of [["compose", "version"], ["info"]]) {
    const problem = await command("docker", args, { ms: 30_000 }).then(
      () => null,
      (error: Error) => error.message,
    );
    if (problem !== null) return problem;
  }
  return null;
}

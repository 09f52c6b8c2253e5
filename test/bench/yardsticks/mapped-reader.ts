import { spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { rooflineProgram } from "./roofline.ts";

const TIMEOUT_MS = 300_000;

/** Reads a mapped file whenever it is asked, all cores together: what memory gives at that moment. */
export interface MappedReader {
  /** Bytes a second over the next `bytes` of the file. */
  rate(): Promise<number>;
  close(): void;
}

/** Resolves once every page of `file` was touched. The program ends with `close`, or after five minutes. */
export async function openMappedReader(file: string, options: { readonly cores: number; readonly bytes: number }): Promise<MappedReader> {
  const args = [String(options.cores), String(options.bytes), file, "read.turns"];
  const program = spawn(rooflineProgram(), args, { stdio: ["pipe", "pipe", "inherit"], timeout: TIMEOUT_MS });
  const output = createInterface({ input: program.stdout });
  const lines = output[Symbol.asyncIterator]();
  program.once("error", () => output.close()); // the next line says that it ended
  program.stdin.on("error", () => undefined); // likewise
  const next = async (): Promise<string> => {
    const line = await lines.next();
    if (line.done === true) throw new Error(`${program.spawnfile} ended while it was to read ${file}`);
    return line.value;
  };
  await next();
  return {
    async rate() {
      program.stdin.write("\n");
      return Number(await next());
    },
    close: () => program.stdin.end(),
  };
}

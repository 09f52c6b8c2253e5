import { readdirSync, statSync } from "node:fs";
import { join } from "node:path";

/** Node's arguments for the program at `source`: as it was built, which starts in half the time, or from its sources where one has changed since. */
export function program(source: string): readonly string[] {
  return isBuilt() ? ["--enable-source-maps", builtPath(source)] : ["--import", "tsx", source];
}

/** Node's arguments for the text of a module, which imports ours as `./services/...ts`. */
export function evaluated(module: string): readonly string[] {
  const text = isBuilt() ? module.replace(/"\.\/((?:services|test)\/[^"]+\.ts)"/g, (_, path) => `"./${builtPath(path)}"`) : module;
  return [...(isBuilt() ? [] : ["--import", "tsx"]), "--input-type=module", "--eval", text];
}

const builtPath = (source: string): string => join("dist", source.replace(/\.ts$/, ".js"));

let built: boolean | null = null;
const isBuilt = (): boolean =>
  (built ??= changedMs("dist/services/cli/main.js") > Math.max(...["services", "proto", "test"].flatMap(sourcesMs)));

const changedMs = (path: string): number => statSync(path, { throwIfNoEntry: false })?.mtimeMs ?? Number.NEGATIVE_INFINITY;
const sourcesMs = (folder: string): number[] =>
  readdirSync(folder, { recursive: true, encoding: "utf8" }).map((path) => (path.endsWith(".ts") ? changedMs(join(folder, path)) : 0));

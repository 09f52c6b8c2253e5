import { readdirSync, statSync } from "node:fs";
import { join, relative } from "node:path";

/**
 * Node's arguments for the program at `source`: as it was built, which starts in half the time, or from its sources
 * where one has changed since.
 */
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
const isBuilt = (): boolean => (built ??= isBuiltIn("."));

/**
 * Whether no compiled source was changed, added or deleted at `root` since the start of its last build that came to its
 * end.
 */
export function isBuiltIn(root: string): boolean {
  const begunMs = statSync(join(root, "dist/.built"), { throwIfNoEntry: false })?.mtimeMs ?? Number.NEGATIVE_INFINITY;
  const sources = ["services", "proto", "test"].flatMap((folder) => [folder, ...compiledIn(root, folder)]);
  return [...sources, "tsconfig.json"].every((path) => begunMs > changedMs(join(root, path)));
}

/** Sources, and folders, whose times change when a file in them is deleted. */
const compiledIn = (root: string, folder: string): string[] =>
  readdirSync(join(root, folder), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isDirectory() || entry.name.endsWith(".ts"))
    .map(({ parentPath, name }) => join(relative(root, parentPath), name));

/** A file that keeps an old modification time, as with `cp -p` or `mv`, is new to its place all the same. */
function changedMs(path: string): number {
  const { mtimeMs, ctimeMs } = statSync(path);
  return Math.max(mtimeMs, ctimeMs);
}

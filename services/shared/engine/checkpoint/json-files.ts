import { existsSync, readFileSync } from "node:fs";
import { ServingError } from "../../runtime/errors.ts";
import { type Fields, isFields } from "../../runtime/json.ts";

/** Parses a JSON file of a model folder. Throws BAD_CHECKPOINT naming the file. */
export const readJson = (path: string): unknown => parseJson(path, readText(path));

/** The fields of an optional file; none if it is absent. */
export function readJsonIfThere(path: string): Fields {
  const json = existsSync(path) ? readJson(path) : {};
  if (!isFields(json)) throw new ServingError("BAD_CHECKPOINT", `${path} is not a JSON object`);
  return json;
}

/** Parses the text of such a file. */
export function parseJson(path: string, text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new ServingError("BAD_CHECKPOINT", `${path} is not JSON: ${(cause as Error).message}`, { cause });
  }
}

function readText(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch (cause) {
    throw new ServingError("BAD_CHECKPOINT", `${path} cannot be read (${(cause as NodeJS.ErrnoException).code})`, { cause });
  }
}

import { createHash } from "node:crypto";
import { type Batch, type BatchError, LINES_MAX } from "../shared/batches/batch.ts";
import type { StoredFile } from "../shared/batches/file.ts";
import type { Bus } from "../shared/bus/contract.ts";
import { ServingError } from "../shared/runtime/errors.ts";
import { type Fields, isFields } from "../shared/runtime/json.ts";
import { linesOf, type RawLine } from "./lines.ts";
import { PrefixOrder, promptStart } from "./order.ts";

/** Problems that are told; the rest of the file is not read then. */
const PROBLEMS_MAX = 100;
const CUSTOM_ID_CHARACTERS_MAX = 512;

/** Where the lines of a file are, and the order to run them in: 20 bytes a line. */
export interface LineIndex {
  readonly count: number;
  readonly numbers: Uint32Array;
  readonly offsets: Float64Array;
  readonly lengths: Uint32Array;
  readonly order: Uint32Array;
  readonly model: string | null;
}

export interface Validated {
  readonly index: LineIndex;
  /** None, or the batch fails as a whole. */
  readonly problems: readonly BatchError[];
}

/**
 * Reads the whole file once, and holds no more of it than a line. Every line of a batch must be one that can be sent, or none is. `served`: the
 * model there is; null for a file that was found valid before. `beat` is called with every part: it is progress.
 */
export async function validate(
  bus: Bus,
  { endpoint }: Pick<Batch, "endpoint">,
  file: StoredFile,
  served: string | null,
  lineBytesMax: number,
  beat: () => Promise<void>,
): Promise<Validated> {
  const numbers: number[] = [];
  const offsets: number[] = [];
  const lengths: number[] = [];
  const problems: BatchError[] = [];
  const order = new PrefixOrder();
  const customIds = new Set<string>();
  let model: string | null = null;
  try {
    for await (const line of linesOf(bus, file, lineBytesMax, beat)) {
      if (numbers.length === LINES_MAX) throw new ServingError("TOO_LARGE", `a batch may have at most ${LINES_MAX} lines; split the file`);
      const problem = check(line);
      if (problem !== null && problems.push(problem) === PROBLEMS_MAX) break;
      numbers.push(line.number);
      offsets.push(line.offset);
      lengths.push(line.bytes.length);
    }
    if (numbers.length === 0) problems.push(problemOf("empty_file", "the file has no lines"));
  } catch (error) {
    if (!(error instanceof ServingError) || (error.code !== "TOO_LARGE" && error.code !== "NOT_FOUND")) throw error;
    problems.push(problemOf(error.code === "TOO_LARGE" ? "file_too_large" : "file_not_found", error.message));
  }
  const index = {
    count: numbers.length,
    numbers: Uint32Array.from(numbers),
    offsets: Float64Array.from(offsets),
    lengths: Uint32Array.from(lengths),
    order: order.take(),
    model,
  };
  return { index, problems };

  function check({ number, bytes }: RawLine): BatchError | null {
    const at = (code: string, message: string, param: string | null = null) => problemOf(code, message, param, number);
    const line = parsed(bytes);
    if (line === null) return at("invalid_json_line", "this line is not a JSON object in UTF-8");
    const { custom_id, method, url, body } = line;
    if (typeof custom_id !== "string" || custom_id === "")
      return at("missing_required_parameter", "custom_id: must be a text", "custom_id");
    if (custom_id.length > CUSTOM_ID_CHARACTERS_MAX)
      return at("invalid_value", `custom_id: may have at most ${CUSTOM_ID_CHARACTERS_MAX} characters`, "custom_id");
    const digest = createHash("sha256").update(custom_id).digest("base64url");
    if (customIds.has(digest)) return at("duplicate_custom_id", `custom_id: ${custom_id} stands in an earlier line`, "custom_id");
    customIds.add(digest);
    if (method !== "POST") return at("invalid_method", "method: must be POST", "method");
    if (url !== endpoint) return at("invalid_url", `url: must be ${endpoint}, the endpoint of the batch`, "url");
    if (!isFields(body)) return at("missing_required_parameter", "body: must be an object", "body");
    if (typeof body.model !== "string") return at("missing_required_parameter", "body.model: must be a text", "body.model");
    model ??= body.model;
    if (body.model !== model)
      return at("mismatched_model", `body.model: must be ${model.slice(0, 100)}, as in the first line`, "body.model");
    if (served !== null && model !== served) return at("model_not_found", `body.model: this cluster serves ${served}`, "body.model");
    if (body.stream === true || body.background === true)
      return at("unsupported_parameter", "body: lines of a batch neither stream nor run in the background", "body");
    order.add(startOf(body));
    return null;
  }
}

/** What cannot be printed fails its own line, once it is read as a request. */
function startOf(body: Fields): string {
  try {
    return promptStart(body);
  } catch {
    return "";
  }
}

const problemOf = (code: string, message: string, param: string | null = null, line: number | null = null): BatchError => ({
  code,
  message,
  param,
  line,
});

const utf8 = new TextDecoder("utf-8", { fatal: true });

function parsed(bytes: Uint8Array): Fields | null {
  try {
    const value: unknown = JSON.parse(utf8.decode(bytes));
    return isFields(value) ? value : null;
  } catch {
    return null;
  }
}

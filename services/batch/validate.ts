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
/** What a problem quotes of a file: a batch's document holds all problems, and characters may take six bytes each in it. */
const QUOTED_CHARACTERS_MAX = 32;

/** Where the lines of a file are, and the order to run them in: 20 bytes a line. */
export interface LineIndex {
  readonly count: number;
  readonly numbers: Uint32Array;
  readonly offsets: Float64Array;
  readonly lengths: Uint32Array;
  readonly order: Uint32Array;
  readonly model: string | null;
}

interface Validated {
  readonly index: LineIndex;
  /** None, or the batch fails as a whole, and the index says nothing. */
  readonly problems: readonly BatchError[];
}

/**
 * Reads the whole file once, and holds no more of it than a line. Every line of a batch must be one that can be sent, or none is. `served`: the
 * model there is. `beat` is called with every part: it is progress.
 */
export async function validate(
  bus: Bus,
  { endpoint }: Pick<Batch, "endpoint">,
  file: StoredFile,
  served: string,
  lineBytesMax: number,
  beat: () => Promise<void>,
): Promise<Validated> {
  const lines = new Lines();
  const problems: BatchError[] = [];
  const customIds = new Set<string>();
  let model: string | null = null;
  try {
    for await (const line of linesOf(bus, file, lineBytesMax, beat)) {
      if (lines.count === LINES_MAX) throw new ServingError("TOO_LARGE", `a batch may have at most ${LINES_MAX} lines; split the file`);
      const fields = parsed(line.bytes);
      const problem = check(line, fields);
      if (problem !== null && problems.push(problem) === PROBLEMS_MAX) break;
      lines.add(line, fields);
    }
    if (lines.count === 0) problems.push(problemOf("empty_file", "the file has no lines"));
  } catch (error) {
    problems.push(ofFile(error));
  }
  return { index: { ...lines.take(), model }, problems };

  function check({ number }: RawLine, line: Fields | null): BatchError | null {
    const at = (code: string, message: string, param: string | null = null) => problemOf(code, message, param, number);
    if (line === null) return at("invalid_json_line", "this line is not a JSON object in UTF-8");
    const { custom_id, method, url, body } = line;
    if (typeof custom_id !== "string" || custom_id === "")
      return at("missing_required_parameter", "custom_id: must be a string", "custom_id");
    if (custom_id.length > CUSTOM_ID_CHARACTERS_MAX)
      return at("invalid_value", `custom_id: may have at most ${CUSTOM_ID_CHARACTERS_MAX} characters`, "custom_id");
    const digest = createHash("sha256").update(custom_id).digest("base64url");
    if (customIds.has(digest))
      return at("duplicate_custom_id", `custom_id: ${quoted(custom_id)} is already used in an earlier line`, "custom_id");
    customIds.add(digest);
    if (method !== "POST") return at("invalid_method", "method: must be POST", "method");
    if (url !== endpoint) return at("invalid_url", `url: must be ${endpoint}, the endpoint of the batch`, "url");
    if (!isFields(body)) return at("missing_required_parameter", "body: must be an object", "body");
    if (typeof body.model !== "string") return at("missing_required_parameter", "body.model: must be a string", "body.model");
    model ??= body.model;
    if (body.model !== model) return at("mismatched_model", `body.model: must be ${quoted(model)}, as in the first line`, "body.model");
    if (model !== served) return at("model_not_found", `body.model: this cluster serves ${served}`, "body.model");
    if (body.stream === true || body.background === true)
      return at("unsupported_parameter", "body: a batch line cannot set stream or background", "body");
    return null;
  }
}

/**
 * The lines of a file that was found valid before, where they were: they stay valid, whatever is allowed by now. A line is known by its place among
 * all: where a part of the file is gone, those behind it cannot be told from each other, nor named.
 */
export async function findAgain(
  bus: Bus,
  { total }: Pick<Batch, "total">,
  file: StoredFile,
  beat: () => Promise<void>,
): Promise<Validated> {
  const lines = new Lines();
  const problems: BatchError[] = [];
  try {
    for await (const line of linesOf(bus, file, Number.POSITIVE_INFINITY, beat)) lines.add(line, parsed(line.bytes));
    if (lines.count !== total) problems.push(problemOf("file_changed", `the input file had ${total} lines and has ${lines.count} now`));
  } catch (error) {
    problems.push(ofFile(error));
  }
  return { index: { ...lines.take(), model: null }, problems };
}

class Lines {
  readonly #numbers: number[] = [];
  readonly #offsets: number[] = [];
  readonly #lengths: number[] = [];
  readonly #order = new PrefixOrder();

  get count(): number {
    return this.#numbers.length;
  }

  add({ number, offset, bytes }: RawLine, fields: Fields | null): void {
    this.#numbers.push(number);
    this.#offsets.push(offset);
    this.#lengths.push(bytes.length);
    this.#order.add(startOf(fields?.body));
  }

  take(): Omit<LineIndex, "model"> {
    return {
      count: this.count,
      numbers: Uint32Array.from(this.#numbers),
      offsets: Float64Array.from(this.#offsets),
      lengths: Uint32Array.from(this.#lengths),
      order: this.#order.take(),
    };
  }
}

/** What cannot be printed fails its own line, once it is read as a request. */
function startOf(body: unknown): string {
  try {
    return isFields(body) ? promptStart(body) : "";
  } catch {
    return "";
  }
}

/** Throws what says nothing about the file. */
function ofFile(error: unknown): BatchError {
  if (error instanceof ServingError && error.code === "TOO_LARGE") return problemOf("file_too_large", error.message);
  if (error instanceof ServingError && error.code === "NOT_FOUND") return problemOf("file_not_found", error.message);
  throw error;
}

const problemOf = (code: string, message: string, param: string | null = null, line: number | null = null): BatchError => ({
  code,
  message,
  param,
  line,
});

const quoted = (text: string): string => (text.length <= QUOTED_CHARACTERS_MAX ? text : `${text.slice(0, QUOTED_CHARACTERS_MAX)}…`);

const utf8 = new TextDecoder("utf-8", { fatal: true });

function parsed(bytes: Uint8Array): Fields | null {
  try {
    const value: unknown = JSON.parse(utf8.decode(bytes));
    return isFields(value) ? value : null;
  } catch {
    return null;
  }
}

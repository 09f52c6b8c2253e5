import type { Body } from "../api/http/body.ts";
import type { Endpoint } from "../shared/batches/batch.ts";
import { field, isObject, printJson, readJson } from "../shared/engine/chat/python-json.ts";

/** As lines are read when they are checked: a mark of byte order in front is no part of the text. */
const utf8 = new TextDecoder();

/** The request of a line that was found valid. */
export class LineBody implements Body {
  readonly customId: string;
  readonly json: unknown;
  /** How many the line asks for. */
  readonly answers: number;
  readonly #text: string;

  constructor(bytes: Uint8Array, endpoint: Endpoint) {
    this.#text = utf8.decode(bytes);
    const { custom_id, body } = JSON.parse(this.#text) as { readonly custom_id: string; readonly body: { readonly n?: unknown } };
    this.customId = custom_id;
    this.json = body;
    this.answers = typeof body.n === "number" && endpoint !== "/v1/responses" ? body.n : 1;
  }

  /** With its numbers and the order of its keys as they were sent: only prompts with tools ask for it. */
  get raw(): string {
    const line = readJson(this.#text);
    return printJson((isObject(line) ? field(line, "body") : undefined) ?? null);
  }
}

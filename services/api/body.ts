import type { FastifyRequest } from "fastify";
import { type Printable, readJson } from "../shared/engine/chat/python-json.ts";
import { ServingError } from "../shared/runtime/errors.ts";

/** A JSON body: its text, because prompts depend on it to the letter, and what it says. */
export interface Body {
  readonly raw: string;
  /** Undefined if nothing was sent. */
  readonly json: unknown;
}

export const NO_BODY: Body = { raw: "", json: undefined };

const utf8 = new TextDecoder("utf-8", { fatal: true });

/** INVALID_REQUEST says what to send instead. */
export function readBody({ headers }: Pick<FastifyRequest, "headers">, bytes: Buffer): Body {
  if (![undefined, "identity"].includes(headers["content-encoding"]))
    throw refused("compressed bodies are not read: send the body as it is", "unsupported_encoding");
  if (bytes.length === 0) return NO_BODY; // clients say the type of what they do not send
  let raw: string;
  try {
    raw = utf8.decode(bytes);
  } catch {
    throw refused("the body is not valid UTF-8", "invalid_encoding");
  }
  try {
    return { raw, json: JSON.parse(raw) };
  } catch (error) {
    throw refused(`the body is not valid JSON: ${(error as Error).message}`, "invalid_json");
  }
}

/** The body read so that numbers and key order survive. */
export function readExactly(body: Body): Printable {
  try {
    return readJson(body.raw);
  } catch (error) {
    throw refused(`the body cannot be read exactly, as its tools need: ${(error as Error).message}`, "invalid_json");
  }
}

const refused = (message: string, apiCode: string) => new ServingError("INVALID_REQUEST", message, { apiCode });

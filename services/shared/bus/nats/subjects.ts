import { ServingError } from "../../runtime/errors.ts";

const TOKEN_CHARACTERS_MAX = 200;

/** Any text as one token of a subject, a KV key and a consumer name: letters, digits, `-` and `_` stand for themselves, other bytes as `=3F`. */
export function token(text: string): string {
  const name = PLAIN_TEXT.test(text) ? text : text === "" ? "=" : Array.from(new TextEncoder().encode(text), escaped).join("");
  if (name.length <= TOKEN_CHARACTERS_MAX) return name;
  const room = `${TOKEN_CHARACTERS_MAX} letters, digits, - and _, each other byte for three`;
  throw new ServingError("INVALID_REQUEST", `the name ${text.slice(0, 40)}... is too long: there is room for ${room}`);
}

/** Throws INVALID_REQUEST for a text by which nothing in the record can be named. */
export function requireName(what: string, text: string): void {
  if (text === "") throw new ServingError("INVALID_REQUEST", `${what} needs a name`);
  token(text);
}

/** The text that a token stands for; "", which is nobody's name, for a token that is none of ours. */
export function untoken(escaped: string): string {
  try {
    const text = decodeURIComponent(escaped === "=" ? "" : escaped.replaceAll("=", "%"));
    return token(text) === escaped ? text : "";
  } catch {
    return "";
  }
}

/** The text that the last token of a subject stands for. */
export const lastToken = (subject: string): string => untoken(subject.slice(subject.lastIndexOf(".") + 1));

const PLAIN = /[A-Za-z0-9_-]/;
const PLAIN_TEXT = /^[A-Za-z0-9_-]+$/;

function escaped(byte: number): string {
  const character = String.fromCharCode(byte);
  return PLAIN.test(character) ? character : `=${byte.toString(16).toUpperCase().padStart(2, "0")}`;
}

/** Where things are under one prefix. Streams of buckets are named as the `nats` command line tool expects them. */
export function names(prefix: string) {
  if (!/^[a-z][a-z0-9_-]{0,39}$/.test(prefix)) {
    throw new ServingError("INVALID_REQUEST", `${prefix} cannot be a prefix; use up to 40 of a-z, 0-9, - and _, beginning with a letter`);
  }
  const stream = (name: string) => `${prefix}_${name}`.toUpperCase();
  const bucket = (name: string) => ({ stream: `KV_${prefix}_${name}`, subject: `$KV.${prefix}_${name}` });
  const objects = (name: string) => ({ bucket: `${prefix}_${name}`, stream: `OBJ_${prefix}_${name}`, subject: `$O.${prefix}_${name}` });
  return {
    log: { stream: stream("log"), subject: `${prefix}.log`, clock: `${prefix}.clock` },
    live: `${prefix}.live`,
    cancel: `${prefix}.cancel`,
    prefill: { stream: stream("prefill"), subject: `${prefix}.prefill` },
    decode: { stream: stream("decode"), subject: `${prefix}.decode` },
    beats: bucket("beats"),
    keys: bucket("keys"),
    marks: bucket("marks"),
    jobs: bucket("jobs"),
    access: bucket("access"),
    documents: bucket("documents"),
    payloads: objects("payloads"),
    files: objects("files"),
  } as const;
}

export type Names = ReturnType<typeof names>;

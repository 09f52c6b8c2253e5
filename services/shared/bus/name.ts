import { refusal } from "../runtime/errors.ts";

const TOKEN_CHARACTERS_MAX = 200;

/**
 * Any text as one token of a subject, a KV key and a consumer name: letters, digits, `-` and `_` stand for themselves,
 * other bytes as `=3F`.
 */
export function token(text: string): string {
  const name = PLAIN_TEXT.test(text) ? text : text === "" ? "=" : Array.from(new TextEncoder().encode(text), escaped).join("");
  if (name.length <= TOKEN_CHARACTERS_MAX) return name;
  const room = `${TOKEN_CHARACTERS_MAX} letters, digits, - and _, each other byte for three`;
  throw refusal(`the name ${text.slice(0, 40)}... is too long: there is room for ${room}`);
}

/** Throws INVALID_REQUEST for a text by which nothing in the record can be named. */
export function requireName(what: string, text: string): void {
  if (text === "") throw refusal(`${what} needs a name`);
  token(text);
}

/** The text that a token stands for; "", which is never a name, for a token that is not ours. */
export function untoken(escaped: string): string {
  try {
    const text = decodeURIComponent(escaped === "=" ? "" : escaped.replaceAll("=", "%"));
    return token(text) === escaped ? text : "";
  } catch {
    return "";
  }
}

const PLAIN = /[A-Za-z0-9_-]/;
const PLAIN_TEXT = /^[A-Za-z0-9_-]+$/;

function escaped(byte: number): string {
  const character = String.fromCharCode(byte);
  return PLAIN.test(character) ? character : `=${byte.toString(16).toUpperCase().padStart(2, "0")}`;
}

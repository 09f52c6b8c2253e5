import { refusal, type ServingError } from "./errors.ts";

/** A store's URL, with user and password decoded. A URL that is refused is never repeated: it may hold a password. */
export interface StoreUrl {
  readonly url: URL;
  readonly username: string;
  readonly password: string;
}

/** What Node says of a certificate whose authority it does not know, and what to do then. */
export const UNTRUSTED = {
  pattern: /self-signed|unable to .* certificate/i,
  advice: "name the certificate of its authority in NODE_EXTRA_CA_CERTS",
} as const;

/**
 * Reads the URL in the setting `name`. Throws INVALID_REQUEST, which names the setting, and its `form` if this is no
 * URL.
 */
export function parseStoreUrl(name: string, text: string, form: string): StoreUrl {
  const refused = (why: string) => refusal(`${name}: ${why}`);
  if (!URL.canParse(text)) throw refused(`${form}; in a user or a password / is written %2F, # %23 and @ %40`);
  const url = new URL(text);
  if (url.protocol !== "unix:" && url.pathname.includes("@")) throw refused("a / in a user or a password is written %2F");
  const meant = (part: string) => decoded(part, "a user or a password", refused);
  return { url, username: meant(url.username), password: meant(url.password) };
}

/** A part of a URL, decoded; `what` it is, for people. */
export function decoded(part: string, what: string, refused: (why: string) => ServingError): string {
  try {
    return decodeURIComponent(part);
  } catch {
    throw refused(`a % in ${what} is written %25`);
  }
}

import { timingSafeEqual } from "node:crypto";
import type { FastifyRequest } from "fastify";
import type { Config } from "../shared/runtime/config.ts";
import { refusal, ServingError } from "../shared/runtime/errors.ts";
import { type ApiKey, digestOf } from "./keys/key.ts";
import type { KeyRing } from "./keys/key-ring.ts";

type Headers = Readonly<Record<string, string | string[] | undefined>>;

/** Who asks. */
export interface Caller {
  /** Separates jobs, cached prefixes and idempotency keys. */
  readonly tenant: string;
  /** Where the key is one of the record's: what it may do. */
  readonly key: ApiKey | null;
}

/** Whoever it is, where there is no key to tell them apart by. */
export const EVERYBODY: Caller = { tenant: "default", key: null };

/** `header`: how whoever comes without a key is told to send it. */
export type Identify = (headers: Headers, header?: string) => Caller;

declare module "fastify" {
  interface FastifyRequest {
    /** Who asks; null until it was let in, and where everybody may ask. */
    caller: Caller | null;
  }
}

/** Of a request behind the door. */
export function callerOf({ caller }: Pick<FastifyRequest, "caller">): Caller {
  if (caller === null) throw new ServingError("INTERNAL", "a route that asks for a key is not under /v1/");
  return caller;
}

export const tenantOf = (request: Pick<FastifyRequest, "caller">): string => callerOf(request).tenant;

/** Throws UNAUTHORIZED for whoever does not get in. Each digest of `apiKeys` is a tenant without limits. */
export function identifier({ apiKeys, requireKeys }: Pick<Config, "apiKeys" | "requireKeys">, ring: KeyRing): Identify {
  const accepted = acceptedDigests(apiKeys);
  return (headers, header = "Authorization: Bearer KEY") => {
    if (accepted.length === 0 && ring.empty && !requireKeys) return EVERYBODY;
    const secret = secretOf(headers);
    const key = ring.find(secret);
    if (key !== null) return { tenant: key.tenant, key };
    const presented = digestOf(secret);
    // Every digest is compared, whichever matches: the time says nothing.
    const match = accepted.reduce<Buffer | null>((found, digest) => (timingSafeEqual(digest, presented) ? digest : found), null);
    if (match !== null) return { tenant: match.toString("hex").slice(0, 16), key: null };
    throw new ServingError("UNAUTHORIZED", `no valid API key: send ${header}`, { apiCode: "invalid_api_key" });
  };
}

function acceptedDigests(text: string): readonly Buffer[] {
  const digests = text.split(",").filter((digest) => digest !== "");
  if (digests.some((digest) => !/^[0-9a-f]{64}$/.test(digest)))
    throw refusal("LONGSHORE_API_KEYS must hold SHA-256 digests: 64 lower-case hex digits each, comma-separated");
  return digests.map((digest) => Buffer.from(digest, "hex"));
}

function secretOf({ authorization, "x-api-key": apiKey }: Headers): string {
  if (typeof apiKey === "string") return apiKey;
  return typeof authorization === "string" ? authorization.replace(/^Bearer +/i, "") : "";
}

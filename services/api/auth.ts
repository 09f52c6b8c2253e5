import { createHash, timingSafeEqual } from "node:crypto";
import { ServingError } from "../shared/runtime/errors.ts";

/** Who asks. The tenant separates cached prefixes and idempotency keys. */
export type Authenticate = (headers: Readonly<Record<string, string | string[] | undefined>>) => string;

/** `digests`: SHA-256 of the accepted keys, hex, comma-separated. Empty: everybody is the tenant "default". */
export function authenticator(digests: string): Authenticate {
  const accepted = digests.split(",").filter((digest) => digest !== "");
  const bad = accepted.find((digest) => !/^[0-9a-f]{64}$/.test(digest));
  if (bad !== undefined)
    throw new ServingError(
      "INVALID_REQUEST",
      "LONGSHORE_API_KEYS must hold SHA-256 digests: 64 lower-case hex digits each, comma-separated",
    );
  const known = accepted.map((digest) => Buffer.from(digest, "hex"));
  return (headers) => {
    if (known.length === 0) return "default";
    const presented = createHash("sha256").update(keyOf(headers)).digest();
    // Every digest is compared, whichever matches: the time says nothing.
    const match = known.reduce((found, digest, i) => (timingSafeEqual(digest, presented) ? i : found), -1);
    if (match < 0)
      throw new ServingError("UNAUTHORIZED", "no valid API key: send Authorization: Bearer KEY", { apiCode: "invalid_api_key" });
    return accepted[match]!.slice(0, 16);
  };
}

function keyOf(headers: Readonly<Record<string, string | string[] | undefined>>): string {
  const { authorization, "x-api-key": apiKey } = headers;
  if (typeof apiKey === "string") return apiKey;
  return typeof authorization === "string" ? authorization.replace(/^Bearer +/i, "") : "";
}

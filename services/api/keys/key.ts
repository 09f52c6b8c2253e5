import { createHash, timingSafeEqual } from "node:crypto";
import { z } from "zod";
import { requireName } from "../../shared/bus/name.ts";
import { secretBytes } from "../../shared/runtime/random.ts";

const limit = z.int().min(1).nullable();

const storedKey = z.object({
  id: z.string(),
  name: z.string(),
  tenant: z.string(),
  /** SHA-256 of the whole key, hex. */
  digest: z.string().regex(/^[0-9a-f]{64}$/),
  requestsPerMinute: limit,
  /** Of prompts and expected answers together. */
  tokensPerMinute: limit,
  createdMs: z.number(),
  revokedMs: z.number().nullable(),
});

/** What is kept of an API key: never the key itself. */
export type ApiKey = Readonly<z.infer<typeof storedKey>>;

/** Null for what another version wrote and this one cannot read: such a key opens nothing. */
export function readKey(text: string): ApiKey | null {
  try {
    return storedKey.parse(JSON.parse(text));
  } catch {
    return null;
  }
}

/**
 * A key, `lsk_<id>_<secret>`, to be shown once, and what is kept of it. The secret has 256 bits: its hash needs no salt and no stretching. Throws
 * INVALID_REQUEST for a tenant that the record could not name files and batches by.
 */
export function makeKey(asked: Omit<ApiKey, "id" | "digest" | "revokedMs">): { readonly secret: string; readonly key: ApiKey } {
  requireName("a tenant", asked.tenant);
  const id = secretBytes(6).toString("hex");
  const secret = `lsk_${id}_${secretBytes(32).toString("base64url")}`;
  return { secret, key: { ...asked, id, digest: digestOf(secret).toString("hex"), revokedMs: null } };
}

/** The id in a key of ours; null if it is none. */
export const idOf = (secret: string): string | null => /^lsk_([0-9a-f]{12})_/.exec(secret)?.[1] ?? null;

export const digestOf = (secret: string): Buffer => createHash("sha256").update(secret).digest();

/** In a time that tells nothing of either. */
export const opens = (secret: string, { digest }: Pick<ApiKey, "digest">): boolean =>
  timingSafeEqual(digestOf(secret), Buffer.from(digest, "hex"));

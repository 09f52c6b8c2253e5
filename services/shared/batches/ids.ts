import { createHash } from "node:crypto";

/** An id in the form of `Random.id`, derived from `of`: deriving it again gives the same. */
export function derivedId(prefix: string, ...of: readonly (string | number)[]): string {
  const digest = createHash("sha256").update(JSON.stringify(of)).digest("hex");
  return prefix + BigInt(`0x${digest}`).toString(36).slice(-20);
}

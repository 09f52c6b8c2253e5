import { createHash } from "node:crypto";

/** An id as `Random.id` makes them, that follows from what it is the id of: whoever derives it again gets the same. */
export function derivedId(prefix: string, ...of: readonly (string | number)[]): string {
  const digest = createHash("sha256").update(JSON.stringify(of)).digest("hex");
  return prefix + BigInt(`0x${digest}`).toString(36).slice(-20);
}

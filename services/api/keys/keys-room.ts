import type { Registry } from "../../shared/bus/contract.ts";
import { ServingError } from "../../shared/runtime/errors.ts";
import { type ApiKey, readKey } from "./key.ts";

/** Keys that a cluster may have, those that were revoked and not forgotten included. */
export const KEYS_MAX = 10_000;

/** A revoked key stays for so long, so that every replica has read that it is revoked. */
const KEPT_MS = 86_400_000;

/**
 * Room for one more key: where there is none, those revoked longest ago are forgotten, no more than it takes. They open nothing either way. To be called
 * before a key is made, and then alone: while there is any key, also a revoked one, the door stays closed. Resolves to what was forgotten. OVERLOADED
 * where none was revoked for a day.
 */
export async function makeRoom(registry: Registry, nowMs: number): Promise<readonly ApiKey[]> {
  const kept = await registry.keptKeys(0, KEYS_MAX);
  const excess = kept.length + 1 - KEYS_MAX;
  if (excess <= 0) return [];
  const revoked = kept
    .flatMap(({ text }) => {
      const key = readKey(text);
      return key === null || key.revokedMs === null || key.revokedMs > nowMs - KEPT_MS ? [] : [{ key, revokedMs: key.revokedMs }];
    })
    .sort((a, b) => a.revokedMs - b.revokedMs)
    .map(({ key }) => key)
    .slice(0, excess);
  if (revoked.length < excess)
    throw new ServingError("OVERLOADED", `there are ${KEYS_MAX} keys already, and none was revoked more than a day ago`);
  for (const { id } of revoked) await registry.forgetKey(id);
  return revoked;
}

import type { Taken } from "./shelf.ts";

/**
 * Loads indices from 0 up to `count`, exclusive, `atOnce` at a time, and returns those before the first that is
 * missing. Index 0 is loaded alone: if it is missing, no other is asked for.
 */
export async function loadLeading(count: number, atOnce: number, load: (index: number) => Promise<Taken | null>): Promise<Taken[]> {
  const loaded: (Taken | null)[] = [];
  const failures: unknown[] = [];
  let next = 0;
  let end = count;
  const loadNext = async () => {
    const index = next++;
    loaded[index] = await load(index).catch((error: unknown) => {
      failures.push(error);
      return null;
    });
    if (loaded[index] === null) end = Math.min(end, index);
  };
  const lane = async () => {
    while (next < end) await loadNext();
  };
  if (count > 0) await loadNext();
  await Promise.all(Array.from({ length: Math.min(atOnce, end - next) }, lane));
  if (failures.length > 0) end = 0;
  for (const taken of loaded.slice(end)) taken?.putBack();
  if (failures.length > 0) throw failures[0];
  return loaded.slice(0, end).filter((taken) => taken !== null);
}

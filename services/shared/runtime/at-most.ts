/**
 * Runs `work` for every item, `count` at a time. A rejection stops one of the `count`; the others go on, and then it
 * stands.
 */
export async function atMost<T>(count: number, items: readonly T[], work: (item: T) => Promise<void>): Promise<void> {
  const left = [...items].reverse();
  const lane = async () => {
    for (let item = left.pop(); item !== undefined; item = left.pop()) await work(item);
  };
  const lanes = await Promise.allSettled(Array.from({ length: Math.min(count, items.length) }, lane));
  for (const result of lanes) if (result.status === "rejected") throw result.reason;
}

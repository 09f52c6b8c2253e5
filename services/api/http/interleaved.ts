/**
 * The items of all sources as they come, with the index of their source. At most one item of each is asked for ahead. An error of one ends
 * all, as does who reads no further; so that no source is left waiting, the caller's `abort` then makes every one of them end.
 */
export async function* interleaved<T>(sources: readonly AsyncGenerator<T>[], abort: () => void): AsyncGenerator<readonly [number, T]> {
  const next = async (index: number) => ({ index, result: await sources[index]!.next() });
  const waiting = new Map(sources.map((_, index) => [index, next(index)]));
  try {
    while (waiting.size > 0) {
      const { index, result } = await Promise.race(waiting.values());
      if (result.done === true) waiting.delete(index);
      else {
        yield [index, result.value];
        waiting.delete(index); // behind the others: a source with much to say does not hold them up
        waiting.set(index, next(index));
      }
    }
  } finally {
    abort();
    for (const source of sources) source.return(undefined).catch(() => {}); // one that has given what it was asked for waits for nothing
  }
}

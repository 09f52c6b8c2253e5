import type { Engine, SequenceId } from "../../services/shared/engine/engine.ts";
import { overriding } from "./overriding.ts";

export interface HeldPages {
  readonly engine: Engine;
  /** The most that sequences have held together while there were several. */
  readonly most: { readonly pages: number; readonly sequences: number };
}

/**
 * An engine that counts its sequences' pages one by one: those a sequence was opened with by their bytes, the others by
 * its length.
 */
export function countingPages(engine: Engine): HeldPages {
  const { segmentTokens } = engine.info;
  const open = new Map<SequenceId, { readonly given: readonly Uint8Array[]; tokens: number }>();
  const most = { pages: 0, sequences: 0 };
  const look = () => {
    most.sequences = Math.max(most.sequences, open.size);
    if (open.size < 2) return;
    const held = [...open.values()];
    const own = held.map(({ given, tokens }) => Math.max(0, Math.ceil(tokens / segmentTokens) - given.length));
    const given = new Set(held.flatMap((each) => each.given)).size;
    most.pages = Math.max(
      most.pages,
      own.reduce((sum, pages) => sum + pages, given),
    );
  };
  const grow = (sequence: SequenceId, tokens: number) => {
    const held = open.get(sequence);
    if (held !== undefined) held.tokens += tokens;
    look();
  };
  return {
    most,
    engine: overriding(engine, {
      open: async (start) => {
        const opened = await engine.open(start);
        open.set(opened.sequence, { given: start.segments.map(({ bytes }) => bytes), tokens: opened.position });
        look();
        return opened;
      },
      prefill: (sequence, ids, options) => {
        grow(sequence, ids.length);
        return engine.prefill(sequence, ids, options);
      },
      step: (batch) => {
        for (const { sequence } of batch) grow(sequence, 1);
        return engine.step(batch);
      },
      close: async (sequence) => {
        await engine.close(sequence);
        open.delete(sequence);
      },
    }),
  };
}

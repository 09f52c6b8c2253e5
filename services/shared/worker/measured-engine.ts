import type { Engine } from "../engine/engine.ts";
import type { Clock } from "../runtime/clock.ts";
import type { Metrics } from "../runtime/metrics.ts";

const SECONDS = [0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100];
const SEQUENCES = [1, 2, 4, 8, 16, 32, 64, 128];

/** The same engine, with metrics of its chunks and steps. Times are the caller's, waiting for a turn included. */
export function measured(engine: Engine, clock: Clock, metrics: Metrics): Engine {
  const chunkSeconds = metrics.histogram("longshore_engine_chunk_seconds", "A chunk of a prompt, from call to answer.", SECONDS);
  const chunkTokens = metrics.counter("longshore_engine_chunk_tokens_total", "Tokens computed in chunks, replays included.");
  const stepSeconds = metrics.histogram("longshore_engine_step_seconds", "A step of the running batch, from call to answer.", SECONDS);
  const stepSequences = metrics.histogram("longshore_engine_step_sequences", "Sequences stepped together.", SEQUENCES);
  const stepTokens = metrics.counter("longshore_engine_step_tokens_total", "Tokens drawn in steps: all but the first of each answer.");
  const draftTokens = metrics.counter("longshore_engine_draft_tokens_total", "Tokens of drafts that steps ran.");
  const secondsSince = (startMs: number) => (clock.monotonicMs() - startMs) / 1_000;
  return {
    info: engine.info,
    allocate: (bytes) => engine.allocate(bytes),
    open: (start) => engine.open(start),
    async prefill(sequence, ids, options) {
      const startMs = clock.monotonicMs();
      const result = await engine.prefill(sequence, ids, options);
      chunkSeconds.observe(secondsSince(startMs));
      chunkTokens.inc(ids.length);
      return result;
    },
    async step(batch) {
      const startMs = clock.monotonicMs();
      const results = await engine.step(batch);
      stepSeconds.observe(secondsSince(startMs));
      stepSequences.observe(batch.length);
      for (const result of results) if (!("failed" in result)) stepTokens.inc(result.drawn.length);
      for (const { draft } of batch) if (draft !== undefined) draftTokens.inc(draft.length);
      return results;
    },
    boundary: (sequence) => engine.boundary(sequence),
    close: (sequence) => engine.close(sequence),
    shutdown: () => engine.shutdown(),
  };
}

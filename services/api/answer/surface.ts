import type { JobRequest } from "../../shared/bus/events.ts";
import type { Delta } from "../../shared/engine/chat/delta.ts";
import type { ServingError } from "../../shared/runtime/errors.ts";
import type { StreamEvent } from "../http/sse.ts";
import type { Addition, Ending, Score } from "./answer.ts";

/**
 * How one answer of a kind is written down, in one piece and as a stream of events (docs/api.md). One object per reader, who shows it every
 * record from the first one on, so that the same records make the same events.
 */
export interface Surface {
  /** Before anything was generated. */
  opening(request: JobRequest): StreamEvent[];
  /** A worker has taken the job, or taken it over. */
  claimed(): StreamEvent[];
  /** The prompt is on its way. */
  progress(prefill: { readonly done: number; readonly total: number }): StreamEvent[];
  /** What one record adds. */
  more(deltas: readonly Delta[], scores: readonly Score[]): StreamEvent[];
  closing(end: Ending): StreamEvent[];
  /** Behind the last closing of a request, with the ends of all of its answers. */
  usage(ends: readonly Ending[]): StreamEvent[];
  /** Behind the last record. */
  readonly farewell: readonly StreamEvent[];
  failure(error: ServingError): StreamEvent[];
  /** Sent while nothing happens; null: a comment. */
  readonly heartbeat: StreamEvent | null;
  /** All answers of a request in one. */
  whole(answers: readonly WholeAnswer[]): object;
}

export interface WholeAnswer extends Addition {
  readonly jobId: string;
  /** Among the answers of its request. */
  readonly index: number;
  readonly end: Ending;
}

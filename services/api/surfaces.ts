import type { JobRequest } from "../shared/bus/contract.ts";
import type { Delta } from "../shared/engine/chat/output.ts";
import type { ServingError } from "../shared/runtime/errors.ts";
import type { Addition, Ending, Score } from "./answer.ts";
import { messagesSurface } from "./anthropic/surface.ts";
import { chatSurface, completionSurface } from "./openai/surfaces.ts";
import { responsesSurface, writtenOf } from "./responses/surface.ts";
import type { StreamEvent } from "./sse.ts";
import { answerId, type View } from "./view.ts";

/**
 * How one answer of a kind is written down, in one piece and as a stream of events (docs/api.md). One object per reader, who shows it every
 * record from the first one on, so that the same records make the same events.
 */
export interface Surface {
  /** Before anything was generated. */
  opening(request: JobRequest): StreamEvent[];
  /** A worker has taken the job, or taken it over. */
  begun(): StreamEvent[];
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

export interface Identity {
  readonly jobId: string;
  readonly model: string;
  readonly view: View;
  readonly fingerprint: string;
}

export function surfaceOf({ jobId, model, view, fingerprint }: Identity, includeUsage: boolean): Surface {
  const head = (object: string) => ({
    id: answerId(view.surface, view.choice?.of ?? jobId),
    object,
    created: view.created,
    model,
    system_fingerprint: fingerprint,
  });
  const place = { jobId, index: view.choice?.index ?? 0 };
  switch (view.surface) {
    case "chat":
      return chatSurface(head, place, includeUsage);
    case "completion":
      return completionSurface(head, place, includeUsage);
    case "messages":
      return messagesSurface(jobId, model);
    case "responses":
      return responsesSurface(writtenOf({ jobId, model, view }), -1);
  }
}

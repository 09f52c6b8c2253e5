/** What a job's log holds: its events, from `submitted` to exactly one terminal one, and their places. */
export type Phase = "prefill" | "decode";
/**
 * The lanes in which work of one phase and model waits, in the order in which they are asked. `surplus`: interactive
 * work beyond its tenant's share.
 */
export const LANES = ["interactive", "surplus", "batch"] as const;
export type Lane = (typeof LANES)[number];

/** Work of a smaller rank goes first. */
export const rank = (lane: Lane): number => LANES.indexOf(lane);

export interface JobRequest {
  readonly model: string;
  readonly tenant: string;
  readonly lane: Lane;
  /** Prompt ids, inline or as a key of the payload store. */
  readonly prompt: { readonly ids: Int32Array } | { readonly payload: string };
  readonly promptTokens: number;
  readonly maxTokens: number;
  readonly sampling: {
    readonly temperature: number;
    readonly topP: number;
    readonly topK: number;
    readonly minP: number;
    readonly seed: bigint;
    readonly bias?: { readonly ids: readonly number[]; readonly values: readonly number[] };
    readonly presencePenalty?: number;
    readonly frequencyPenalty?: number;
    /** Alternatives logged with each token; absent: no logprobs at all. */
    readonly topLogprobs?: number;
  };
  /**
   * JSON Schema, as JSON, that the answer is held to: only behind the first token `after`, if that is given, and not if
   * the answer begins there as `instead`.
   */
  readonly constraint?: { readonly schema: string; readonly after?: number; readonly instead?: readonly number[]; readonly blank?: number };
  readonly stop: readonly string[];
  /** Ids that end the answer and are not part of it. */
  readonly stopIds: readonly number[];
  /** By the record's clock (`JobLog.nowMs`). */
  readonly deadlineMs: number;
  /** Lives on without readers. */
  readonly detached: boolean;
  /** What the API needs to render the answer again on any replica: JSON of its own, opaque here; at most 64 KiB. */
  readonly view: string;
}

export interface Usage {
  readonly promptTokens: number;
  readonly completionTokens: number;
  /** Prompt tokens whose segments were found stored. */
  readonly cachedTokens: number;
}

/** Natural logarithms of the probabilities of a token and of the likeliest in its place. */
export interface TokenLogprobs {
  readonly logprob: number;
  readonly top: readonly { readonly id: number; readonly logprob: number }[];
}

/** Output tokens from index `first` of the answer on; `logprobs`, where the request asked for them, one for each. */
export interface Tokens {
  readonly first: number;
  readonly ids: readonly number[];
  readonly logprobs?: readonly TokenLogprobs[];
}

export type JobEvent =
  | { readonly type: "submitted"; readonly request: JobRequest }
  | { readonly type: "claimed"; readonly worker: string }
  /**
   * `done` of `total` tokens of the sequence: the prompt, and the answer so far if it is computed again. `stored`:
   * segments so far in this claim, which reset the attempts. `cached`: absent until the store has been searched.
   */
  | { readonly type: "progress"; readonly done: number; readonly total: number; readonly stored: number; readonly cached?: number }
  | ({ readonly type: "tokens" } & Tokens)
  /** End of prefill: the answer's first token, and where the boundary lies. */
  | {
      readonly type: "handed_over";
      readonly token: number;
      readonly boundary: number;
      readonly cached: number;
      readonly recomputed: number;
      /** Of the first token, by the worker that drew it. */
      readonly logprobs?: TokenLogprobs;
    }
  | { readonly type: "sent_back"; readonly reason: string }
  /**
   * `excused`: the claim ended through no fault of the job (drained, overtaken, its turn over, waiting for another's
   * segments) and is not counted as an attempt.
   */
  | { readonly type: "released"; readonly reason: string; readonly excused?: boolean }
  /** `tokens`: the answer's last ones, if no event of their own brought them: a short answer is one write less. */
  | { readonly type: "finished"; readonly reason: "stop" | "length"; readonly usage: Usage; readonly tokens?: Tokens }
  | { readonly type: "failed"; readonly code: string; readonly message: string }
  | { readonly type: "cancelled"; readonly by: string }
  | { readonly type: "expired" };

/** An event as it stands in the log. */
export interface LogRecord {
  readonly jobId: string;
  /** Place in the record: grows along one job's events, with gaps (other jobs' events lie between). */
  readonly sequence: number;
  /** `sequence` of this job's event before; 0 for the first. A live reader that sees a gap reads the log. */
  readonly previous: number;
  readonly epoch: number;
  /**
   * The phase the job is in once this event happened: `decode` from handed_over on, `prefill` again from sent_back on.
   */
  readonly phase: Phase;
  /** Consecutive claims that stored nothing and produced no token, this one included. 0 once this claim has. */
  readonly attempt: number;
  /** Output tokens in the log, this event included. */
  readonly tokenCount: number;
  /** Wall clock of the writer, ms: for people and timelines, never for decisions between machines. */
  readonly atMs: number;
  readonly event: JobEvent;
}

/** The last event of a job, and when the record stored it, by the record's clock. */
export interface StoredRecord {
  readonly jobId: string;
  readonly sequence: number;
  readonly storedMs: number;
  /** Null: it is there and cannot be read. */
  readonly record: LogRecord | null;
}

export const isTerminal = (event: JobEvent): boolean =>
  event.type === "finished" || event.type === "failed" || event.type === "cancelled" || event.type === "expired";

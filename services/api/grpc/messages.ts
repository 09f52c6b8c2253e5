import type { Prefill } from "../jobs/job-object.ts";

/** The messages of proto/longshore/v1/jobs.proto as `definition.ts` reads and writes them. Absent is absent, but lists are empty. */
export interface SubmitMessage {
  readonly model?: string;
  readonly chat?: ChatMessage;
  readonly text?: string;
  readonly ids?: { readonly ids: readonly number[] };
  readonly max_tokens?: number;
  readonly temperature?: number;
  readonly top_p?: number;
  readonly top_k?: number;
  readonly min_p?: number;
  readonly seed?: number;
  readonly stop: readonly string[];
  readonly presence_penalty?: number;
  readonly frequency_penalty?: number;
  readonly logit_bias?: Readonly<Record<string, number>>;
  readonly deadline_seconds?: number;
  readonly lane?: "INTERACTIVE" | "BATCH";
  readonly idempotency_key?: string;
}

export interface ChatMessage {
  readonly messages: readonly {
    readonly role?: string;
    readonly content?: string;
    readonly reasoning_content?: string;
    readonly tool_calls: readonly Partial<ToolCallMessage>[];
    readonly tool_call_id?: string;
    readonly prefix?: boolean;
  }[];
  readonly tools: readonly { readonly name?: string; readonly description?: string; readonly parameters?: string }[];
  readonly thinking?: boolean;
  readonly effort?: string;
  readonly response_format?: string;
}

export interface ToolCallMessage {
  readonly id: string;
  readonly name: string;
  readonly arguments: string;
}

export interface IdMessage {
  readonly id?: string;
}
export interface WatchMessage extends IdMessage {
  readonly after?: number;
}

export interface SubmitBatchMessage {
  readonly input_file_id?: string;
  readonly endpoint?: string;
  readonly metadata?: Readonly<Record<string, string>>;
  readonly idempotency_key?: string;
  readonly output_expires_after_seconds?: number;
}

export type StatusName = `JOB_STATUS_${"QUEUED" | "PREFILL" | "DECODE" | "FINISHED" | "FAILED" | "CANCELLED" | "EXPIRED"}`;

export interface UsageMessage {
  readonly prompt_tokens: number;
  readonly completion_tokens: number;
  readonly cached_tokens: number;
}
export interface ErrorMessage {
  readonly code: string;
  readonly message: string;
}

export interface JobMessage {
  readonly id: string;
  readonly model: string;
  readonly status: StatusName;
  readonly created_at: number;
  readonly ended_at: number;
  readonly deadline_at: number;
  readonly prompt_tokens: number;
  readonly output_tokens: number;
  readonly prefill?: Prefill;
  readonly answer: {
    readonly reasoning: string;
    readonly content: string;
    readonly tool_calls: readonly ToolCallMessage[];
    readonly finish_reason: string;
  };
  readonly usage?: UsageMessage;
  readonly error?: ErrorMessage;
}

export interface UpdateMessage {
  readonly id: string;
  readonly sequence: number;
  readonly status: StatusName;
  readonly prefill?: Prefill;
  readonly deltas: readonly DeltaMessage[];
  readonly usage?: UsageMessage;
  readonly finish_reason?: string;
  readonly error?: ErrorMessage;
}

export type DeltaMessage =
  | { readonly reasoning: string }
  | { readonly content: string }
  | { readonly call: { readonly index: number; readonly id: string; readonly name: string } }
  | { readonly arguments: { readonly index: number; readonly text: string } };

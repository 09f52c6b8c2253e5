/**
 * What each failure means to a client and to a worker: the HTTP answer, the API's `type`, and whether the same work may
 * succeed later.
 */
const traits = {
  INVALID_REQUEST: { http: 400, type: "invalid_request_error", retryable: false }, // the caller must change something
  CONTEXT_LENGTH: { http: 400, type: "invalid_request_error", retryable: false }, // prompt plus answer do not fit the model
  UNAUTHORIZED: { http: 401, type: "invalid_request_error", retryable: false },
  NOT_FOUND: { http: 404, type: "invalid_request_error", retryable: false }, // unknown model, job or route
  REQUEST_TIMEOUT: { http: 408, type: "invalid_request_error", retryable: true }, // the request did not arrive in time
  CONFLICT: { http: 409, type: "invalid_request_error", retryable: false }, // same idempotency key, another body
  TOO_LARGE: { http: 413, type: "invalid_request_error", retryable: false },
  RATE_LIMITED: { http: 429, type: "rate_limit_error", retryable: true }, // this key has to wait
  OVERLOADED: { http: 429, type: "rate_limit_error", retryable: true }, // ours to absorb: backlog or memory
  HEADERS_TOO_LARGE: { http: 431, type: "invalid_request_error", retryable: false },
  CANCELLED: { http: 499, type: "invalid_request_error", retryable: false }, // the client, or the grace after its last reader
  BAD_CHECKPOINT: { http: 500, type: "server_error", retryable: false }, // weights, config and tokenizer contradict each other
  DAMAGED: { http: 500, type: "server_error", retryable: false }, // what the record holds cannot be read: broken, or of a newer version
  INTERNAL: { http: 500, type: "server_error", retryable: false },
  UNAVAILABLE: { http: 503, type: "server_error", retryable: true }, // NATS, Redis or every worker away, or shutting down
  DEADLINE: { http: 504, type: "server_error", retryable: false },
} as const;

export type ErrorCode = keyof typeof traits;

interface ErrorDetails {
  /** The request field at fault, as a path: `messages[2].content`. */
  readonly param?: string;
  /** The API's finer code where clients read one: `context_length_exceeded`, `model_not_found`. */
  readonly apiCode?: string;
  /** When the same request may succeed. */
  readonly retryAfterSeconds?: number;
  readonly cause?: unknown;
}

/** The one error that crosses a process boundary. `code` is for programs, `message` for people. */
export class ServingError extends Error {
  override readonly name = "ServingError";
  readonly code: ErrorCode;
  readonly param: string | null;
  readonly apiCode: string | null;
  readonly retryAfterSeconds: number | null;

  constructor(code: ErrorCode, message: string, details: ErrorDetails = {}) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause });
    this.code = code;
    this.param = details.param ?? null;
    this.apiCode = details.apiCode ?? null;
    this.retryAfterSeconds = details.retryAfterSeconds ?? null;
  }

  /** Like `message`, for the operator. */
  get told(): string {
    return this.message;
  }
  get http(): number {
    return traits[this.code].http;
  }
  get type(): string {
    return traits[this.code].type;
  }
  get retryable(): boolean {
    return traits[this.code].retryable;
  }

  /** What we did not foresee becomes INTERNAL and keeps its cause. */
  static from(thrown: unknown): ServingError {
    if (thrown instanceof ServingError) return thrown;
    return new ServingError("INTERNAL", thrown instanceof Error ? thrown.message : String(thrown), { cause: thrown });
  }
}

/** For a request, a setting or a command line that has to change. */
export const refusal = (message: string, details?: ErrorDetails): ServingError => new ServingError("INVALID_REQUEST", message, details);

export const isErrorCode = (text: string): text is ErrorCode => Object.hasOwn(traits, text);

export const isUnavailable = (thrown: unknown): thrown is ServingError => thrown instanceof ServingError && thrown.code === "UNAVAILABLE";

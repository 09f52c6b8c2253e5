import { STATUS_CODES } from "node:http";
import { refusal, ServingError } from "../shared/runtime/errors.ts";
import { redactedMessage } from "./redact.ts";

/** How a surface says what went wrong. */
export interface ErrorForm {
  status(error: ServingError): number;
  body(error: ServingError, requestId: string): object;
}

/** The error body of the OpenAI surface: all four keys, always. */
export const openaiErrors = {
  status: (error: ServingError): number => error.http,
  body: (error: ServingError) => ({
    error: {
      message: redactedMessage(error),
      type: error.type,
      param: error.param,
      code: error.apiCode ?? error.code.toLowerCase(),
    },
  }),
} satisfies ErrorForm;

/** What is wrong with the field at `param`: a path as in `messages[2].content`. */
export const invalid = (param: string, why: string, apiCode = "invalid_value"): ServingError =>
  refusal(`${param}: ${why}`, { param, apiCode });

export const keyOfAnother = (): ServingError =>
  new ServingError("CONFLICT", "this Idempotency-Key was used with another body; use a new key for a new request", {
    apiCode: "idempotency_conflict",
  });

/** Where there is no field for the place of a mistake. */
export function placedMessage(error: ServingError): string {
  const message = redactedMessage(error);
  return error.param === null || message.startsWith(error.param) ? message : `${error.param}: ${message}`;
}

/** Headers that tell an SDK whether and when to try again. */
export function retryHeaders(error: ServingError): Record<string, string> {
  if (!error.retryable) return { "x-should-retry": "false" };
  return { "retry-after": String(error.retryAfterSeconds ?? (error.code === "OVERLOADED" ? 5 : 1)) };
}

/** Errors of the HTTP layer itself, in our words. */
export function fromHttpLayer(thrown: unknown, bodyMaxBytes: number): ServingError {
  const { statusCode, code, message } = thrown as { statusCode?: number; code?: string; message?: string };
  if (thrown instanceof ServingError || statusCode === undefined || statusCode >= 500) return ServingError.from(thrown);
  if (statusCode === 413)
    return new ServingError(
      "TOO_LARGE",
      `the request body is larger than ${bodyMaxBytes} bytes, the most this server accepts (LONGSHORE_BODY_MAX_BYTES)`,
      { apiCode: "request_too_large" },
    );
  const [words, apiCode] =
    code === "FST_ERR_CTP_INVALID_MEDIA_TYPE"
      ? ["send the body as content-type: application/json", "unsupported_media_type"]
      : [message ?? "bad request", "invalid_request"];
  return refusal(words, { apiCode, cause: thrown });
}

/** What a connection brought that never became a request, in our words. */
export function fromConnection({ code, message }: NodeJS.ErrnoException): ServingError {
  if (code === "ERR_HTTP_REQUEST_TIMEOUT") return new ServingError("REQUEST_TIMEOUT", "the request did not arrive in time");
  if (code === "HPE_HEADER_OVERFLOW") return new ServingError("HEADERS_TOO_LARGE", "the headers are larger than this server accepts");
  return refusal(`malformed HTTP request: ${message}`);
}

/** A whole answer, for where none can be sent otherwise: bytes that are not HTTP, headers without end, a body that does not arrive. */
export function rawAnswer(error: ServingError, requestId: string, form: ErrorForm = openaiErrors): string {
  const body = JSON.stringify(form.body(error, requestId));
  const status = form.status(error);
  const headers = {
    "content-type": "application/json; charset=utf-8",
    "content-length": Buffer.byteLength(body),
    "x-request-id": requestId,
    "request-id": requestId,
    ...retryHeaders(error),
    connection: "close",
  };
  const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}`);
  return [`HTTP/1.1 ${status} ${STATUS_CODES[status]}`, ...lines, "", body].join("\r\n");
}

import type { FastifyRequest } from "fastify";
import type { ErrorCode, ServingError } from "../../shared/runtime/errors.ts";
import { type ErrorForm, placedMessage } from "../errors.ts";

/** The error body of the Anthropic surface. */
export const anthropicErrors = {
  status: (error: ServingError): number => (error.code === "OVERLOADED" ? OVERLOADED_STATUS : error.http),
  body: (error: ServingError, requestId?: string) => ({
    type: "error",
    error: { type: TYPES[error.code], message: placedMessage(error) },
    ...(requestId === undefined ? {} : { request_id: requestId }),
  }),
} satisfies ErrorForm;

/** Whether a request is for this surface, and must be answered in its words. */
export const isAnthropic = ({ url, routeOptions }: Pick<FastifyRequest, "url" | "routeOptions">): boolean =>
  (routeOptions.url ?? url).startsWith("/v1/messages");

/** The whole service is busy; 429 would say that this key is over its limit. */
const OVERLOADED_STATUS = 529;

const TYPES: Readonly<Record<ErrorCode, string>> = {
  INVALID_REQUEST: "invalid_request_error",
  CONTEXT_LENGTH: "invalid_request_error",
  UNAUTHORIZED: "authentication_error",
  NOT_FOUND: "not_found_error",
  REQUEST_TIMEOUT: "timeout_error",
  CONFLICT: "conflict_error",
  TOO_LARGE: "request_too_large",
  HEADERS_TOO_LARGE: "invalid_request_error",
  RATE_LIMITED: "rate_limit_error",
  OVERLOADED: "overloaded_error",
  CANCELLED: "api_error",
  BAD_CHECKPOINT: "api_error",
  DAMAGED: "api_error",
  INTERNAL: "api_error",
  UNAVAILABLE: "api_error",
  DEADLINE: "timeout_error",
};

import { Metadata, type StatusObject, status } from "@grpc/grpc-js";
import type { ServingError } from "../../shared/runtime/errors.ts";
import { placedMessage, retryHeaders } from "../errors.ts";

/** gRPC's status for what HTTP would answer. */
const BY_HTTP: Readonly<Record<number, status>> = {
  400: status.INVALID_ARGUMENT,
  401: status.UNAUTHENTICATED,
  403: status.PERMISSION_DENIED,
  404: status.NOT_FOUND,
  408: status.DEADLINE_EXCEEDED,
  409: status.FAILED_PRECONDITION,
  413: status.INVALID_ARGUMENT,
  429: status.RESOURCE_EXHAUSTED,
  499: status.CANCELLED,
  503: status.UNAVAILABLE,
  504: status.DEADLINE_EXCEEDED,
};

/** Where gRPC's own is finer. */
const BY_API_CODE: Readonly<Record<string, status>> = {
  idempotency_conflict: status.ALREADY_EXISTS,
  unsupported_encoding: status.UNIMPLEMENTED, // as gRPC's account of compression has it
};

/** How a call ends that failed; `retry-after` and `x-should-retry` travel as they do over HTTP. */
export function statusOf(error: ServingError): StatusObject {
  const metadata = new Metadata();
  for (const [name, value] of Object.entries(retryHeaders(error))) metadata.set(name, value);
  if (error.apiCode === "unsupported_encoding") metadata.set("grpc-accept-encoding", "identity");
  const code = BY_API_CODE[error.apiCode ?? ""] ?? BY_HTTP[error.http] ?? status.INTERNAL;
  return { code, details: placedMessage(error), metadata };
}

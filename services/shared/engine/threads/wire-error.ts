import { type ErrorCode, ServingError } from "../../runtime/errors.ts";

/** A ServingError between threads: without its cause, which may not survive the crossing. */
export interface WireError {
  readonly code: ErrorCode;
  readonly message: string;
  readonly apiCode: string | null;
}

export function toWire(thrown: unknown): WireError {
  const { code, message, apiCode } = ServingError.from(thrown);
  return { code, message, apiCode };
}

export const fromWire = ({ code, message, apiCode }: WireError): ServingError =>
  new ServingError(code, message, apiCode === null ? {} : { apiCode });

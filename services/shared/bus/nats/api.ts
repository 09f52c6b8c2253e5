import type { Connection } from "./connection.ts";

/** Error codes of the JetStream API that are handled here (server/errors.json of nats-server). */
export const apiCodes = {
  streamNotFound: 10059,
  consumerCreate: 10012,
  consumerNotFound: 10014,
  invalidJson: 10025,
  streamInvalidConfig: 10052,
  streamSubjectOverlap: 10065,
  replicasNotSupported: 10074,
  clusterNoPeers: 10005,
  noMessageFound: 10037,
  wrongLastSequence: 10071,
  wrongLastSequenceConstant: 10164,
  storeFailed: 10077,
  jetStreamNotEnabledForAccount: 10039,
  accountResourcesExceeded: 10002,
  insufficientResources: 10023,
  memoryResourcesExceeded: 10028,
  storageResourcesExceeded: 10047,
} as const;

/** The server, or our account on it, has no room for any stream. */
export const serverFull = [
  apiCodes.accountResourcesExceeded,
  apiCodes.insufficientResources,
  apiCodes.memoryResourcesExceeded,
  apiCodes.storageResourcesExceeded,
] as const;

interface Refusal {
  readonly err_code?: number;
  readonly description?: string;
}

/** The server's refusal of a request. */
export class ApiError extends Error {
  override readonly name = "ApiError";
  readonly code: number;

  constructor({ err_code, description }: Refusal) {
    super(description ?? "JetStream refused");
    this.code = err_code ?? 0;
  }
}

/** One request to the JetStream API. ApiError if it was refused; UNAVAILABLE as in `Connection.request`. */
export async function callApi<T>(connection: Connection, subject: string, body: object = {}): Promise<T> {
  const { data } = await connection.request(`$JS.API.${subject}`, JSON.stringify(body));
  return accepted<T>(data);
}

/** Parses a JSON answer of the server. Throws ApiError if it is a refusal. */
export function accepted<T>(data: Uint8Array): T {
  const answer = JSON.parse(Buffer.from(data.buffer, data.byteOffset, data.length).toString("utf8")) as T & { readonly error?: Refusal };
  if (answer.error !== undefined) throw new ApiError(answer.error);
  return answer;
}

export const isApiError = (thrown: unknown, ...codes: readonly number[]): thrown is ApiError =>
  thrown instanceof ApiError && (codes.length === 0 || codes.includes(thrown.code));

export const nanos = (ms: number): number => Math.round(ms * 1e6);

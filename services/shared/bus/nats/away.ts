import { ServingError } from "../../runtime/errors.ts";
import { UNTRUSTED } from "../../runtime/store-url.ts";
import { RecordAway } from "../away.ts";
import { UNANSWERED } from "./requests.ts";

type Row = readonly [pattern: RegExp, why: string | null, advice: string];

/**
 * Errors of the library and of the system, in words, and what to do: none of them passes by itself. A server that was
 * not reached said nothing of us.
 */
const unreached: readonly Row[] = [
  [/CONNECTION_REFUSED|ECONNREFUSED/, "connection refused", "start nats-server there, or correct LONGSHORE_NATS_URL"],
  [/ENOTFOUND/, "there is no such host", "correct LONGSHORE_NATS_URL"],
];
const refusing: readonly Row[] = [
  [/authori[sz]ation|user authentication/i, "user or password refused", "check the user and password in LONGSHORE_NATS_URL"],
  [UNTRUSTED.pattern, null, UNTRUSTED.advice],
  [
    /certificate required|bad certificate/i,
    "it asks for a client certificate",
    "remove `verify` from the tls block of nats-server: longshore identifies itself by LONGSHORE_NATS_URL",
  ],
  [/certificate|altname|alert/i, null, "check the host in LONGSHORE_NATS_URL, and the certificate of nats-server"],
  [/SERVER_OPT_NA|^tls$/, "it does not speak TLS", "write nats:// in LONGSHORE_NATS_URL, or give nats-server a certificate"],
];

export interface Refused {
  readonly server: string;
  /** Null: it lets us in by now. */
  readonly cause: unknown;
}

/** None of the named servers lets us in; why not, for each. */
export class NoneLetsIn extends Error {
  readonly refused: readonly Refused[];

  constructor(refused: readonly Refused[]) {
    super("no server accepts the connection");
    this.refused = refused;
  }
}

/** A cause that says itself what to do keeps its words. `servers`: the named ones, any of which may have said it. */
export function away(cause: unknown, servers: readonly string[]): ServingError {
  if (cause instanceof RecordAway) return cause;
  if (cause instanceof NoneLetsIn) return mostTelling(cause.refused);
  if (cause instanceof ServingError) return new ServingError("UNAVAILABLE", cause.message, { cause });
  const at = servers.join(" or ");
  const said = saidBy(cause);
  const connected = said === UNANSWERED ? `connected, ${said}` : said === UNPREPARED ? said : null;
  if (connected !== null) return new RecordAway({ at, why: connected, advice: BUSY, lasts: false, cause });
  const [, why = null, advice = SILENT] = rowOf([...unreached, ...refusing], said) ?? [];
  return new RecordAway({ at, why: why ?? said.toLowerCase(), advice, lasts: advice !== SILENT, cause });
}

const saidBy = (cause: unknown): string => (cause instanceof Error ? cause.message : "no connection yet");
const rowOf = (rows: readonly Row[], said: string): Row | undefined => rows.find(([pattern]) => pattern.test(said));

/**
 * The cause of a server that refuses us, because all know the same users; else of one that may answer yet; else of one
 * that is not there.
 */
function mostTelling(refused: readonly Refused[]): ServingError {
  const isRefusal = ({ cause }: Refused) => rowOf(refusing, saidBy(cause)) !== undefined;
  const isThere = ({ cause }: Refused) => rowOf(unreached, saidBy(cause)) === undefined;
  const { cause } = refused.find(isRefusal) ?? refused.find(isThere) ?? refused[0]!;
  const { message } = away(cause, []);
  return away(
    cause,
    refused.filter((other) => away(other.cause, []).message === message).map(({ server }) => server),
  );
}

/** Until all streams are known to exist. */
export const UNPREPARED = "connected, its streams are being checked";
const SILENT = "check LONGSHORE_NATS_URL and that nats-server is up";
const BUSY = "see its log, and in a cluster check that most of its servers are up";

interface Unheard {
  readonly subject: string;
  readonly servers: readonly string[];
  /** Why streams may be missing. */
  readonly unprepared: ServingError | null;
  readonly cause: unknown;
}

/**
 * No responders: the server lacks the stream of a subject, perhaps because it was not prepared yet, or JetStream
 * itself.
 */
export function unheard({ subject, servers, unprepared, cause }: Unheard): ServingError {
  if (/^\$JS\.API\.(?!DIRECT\.)/.test(subject)) return withoutJetStream(servers, cause);
  if (unprepared !== null) return unprepared;
  const why = "it is up, but a stream of the cluster was deleted, or too few of the servers that keep it are up";
  return new RecordAway({ at: `${servers.join(" or ")} for ${subject}`, why, advice: "see `nats stream report`", lasts: true, cause });
}

/** The server, or our account on it, has no JetStream. */
export const withoutJetStream = (servers: readonly string[], cause: unknown): ServingError =>
  new RecordAway({ at: servers.join(" or "), why: "it is up without JetStream", advice: NO_JETSTREAM, lasts: true, cause });

const NO_JETSTREAM = "start nats-server with --jetstream, and where it has accounts, give JetStream to that of LONGSHORE_NATS_URL";

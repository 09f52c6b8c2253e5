import { ServingError } from "../../runtime/errors.ts";
import { RECORD_BYTES_MAX } from "../codec.ts";
import type { BusSettings } from "../settings.ts";
import { apiCodes, callApi, isApiError, nanos, noRoom } from "./api.ts";
import type { Connection } from "./connection.ts";
import type { Names } from "./subjects.ts";

const MIB = 1_048_576;
/** Room for headers beside a record. */
const MESSAGE_BYTES_MAX = RECORD_BYTES_MAX + 4_096;

type Config = Readonly<Record<string, unknown>> & { readonly name: string };

/** Every stream of a cluster with every setting that matters, written out. */
export function layout(names: Names, settings: BusSettings): readonly Config[] {
  const common = { storage: "file", num_replicas: settings.replicas, allow_direct: true, max_msg_size: MESSAGE_BYTES_MAX };
  const duplicate_window = nanos(Math.min(settings.dedupeMs, settings.logMaxAgeMs));
  const max_age = nanos(settings.logMaxAgeMs);
  const log = {
    ...common,
    name: names.log.stream,
    subjects: [`${names.log.subject}.*`, names.log.clock],
    retention: "limits",
    discard: "new",
    max_age,
    max_bytes: settings.logMaxBytes,
    duplicate_window,
    allow_rollup_hdrs: true, // for the clock: one message, replaced
  };
  const queue = ({ stream, subject }: { readonly stream: string; readonly subject: string }) => ({
    ...common,
    name: stream,
    subjects: [`${subject}.*.*.*.*`],
    retention: "workqueue",
    discard: "new",
    max_msgs: settings.queueMessagesMax,
    max_age, // a killed server may keep acked messages that no consumer sees any more: they must not fill the queue for ever
    duplicate_window,
  });
  const bucket = ({ stream, subject }: { readonly stream: string; readonly subject: string }, lifeMs: number, more: object) => ({
    ...common,
    name: stream,
    subjects: [`${subject}.>`],
    retention: "limits",
    max_msgs_per_subject: 1,
    max_age: nanos(lifeMs),
    duplicate_window: nanos(Math.min(settings.dedupeMs, lifeMs)),
    ...more,
  });
  const objects = ({ stream, subject }: { readonly stream: string; readonly subject: string }, lifeMs: number, max_bytes: number) => ({
    ...common,
    name: stream,
    subjects: [`${subject}.C.>`, `${subject}.M.>`],
    retention: "limits",
    discard: "new",
    max_age: nanos(lifeMs),
    max_bytes,
    duplicate_window: nanos(Math.min(settings.dedupeMs, lifeMs)),
    allow_rollup_hdrs: true,
  });
  return [
    log,
    queue(names.prefill),
    queue(names.decode),
    bucket(names.beats, settings.beatLifeMs, { storage: "memory", discard: "old", max_bytes: 16 * MIB }),
    bucket(names.keys, settings.keyLifeMs, { discard: "new", max_bytes: 256 * MIB }), // a key must not be forgotten early
    bucket(names.marks, settings.logMaxAgeMs, { discard: "old", max_bytes: 64 * MIB }),
    bucket(names.jobs, settings.logMaxAgeMs, { discard: "old", max_bytes: 256 * MIB }),
    bucket(names.access, settings.dedupeMs, { max_age: 0, discard: "new", max_bytes: 16 * MIB }), // API keys live until they are revoked
    bucket(names.documents, settings.filesMaxAgeMs, { discard: "new", max_bytes: settings.documentsMaxBytes }),
    objects(names.payloads, settings.logMaxAgeMs, settings.payloadsMaxBytes),
    objects(names.files, settings.filesMaxAgeMs, settings.filesMaxBytes),
  ];
}

/** Creates a stream, or gives an existing one these settings. */
export async function ensureStream(connection: Connection, config: Config): Promise<void> {
  checkEcho(`stream ${config.name}`, config, (await create(connection, config)).config);
}

export interface Echo {
  readonly config: Readonly<Record<string, unknown>>;
}

/** Servers drop settings they do not know without a word, so what they answer is compared with what was asked. */
export function checkEcho(what: string, asked: Readonly<Record<string, unknown>>, answered: Echo["config"]): void {
  const differing = Object.keys(asked).filter((key) => JSON.stringify(answered[key]) !== JSON.stringify(asked[key]));
  if (differing.length === 0) return;
  throw new ServingError("UNAVAILABLE", `nats-server did not take ${differing.join(", ")} of ${what}; use 2.9.10 or newer`);
}

/** Servers drop the oldest of what does not fit a smaller size, without a word, also of a stream that refuses what is new. */
async function requireFit(connection: Connection, { name, discard, max_bytes }: Config): Promise<void> {
  if (discard !== "new" || typeof max_bytes !== "number") return;
  const { state } = await callApi<{ readonly state: { readonly bytes: number } }>(connection, `STREAM.INFO.${name}`);
  if (state.bytes <= max_bytes) return;
  const advice = "raise LONGSHORE_LOG_MAX_BYTES, LONGSHORE_PAYLOADS_MAX_BYTES or LONGSHORE_FILES_MAX_BYTES, or delete what is in it first";
  throw new ServingError(
    "UNAVAILABLE",
    `stream ${name} holds ${state.bytes} bytes and would lose the oldest with a size of ${max_bytes}; ${advice}`,
  );
}

async function create(connection: Connection, config: Config): Promise<Echo> {
  try {
    return await callApi(connection, `STREAM.CREATE.${config.name}`, config);
  } catch (thrown) {
    if (isApiError(thrown, apiCodes.streamNameInUse)) {
      await requireFit(connection, config);
      return await callApi(connection, `STREAM.UPDATE.${config.name}`, config);
    }
    if (!isApiError(thrown, ...noRoom)) throw thrown;
    const advice =
      "lower LONGSHORE_LOG_MAX_BYTES, LONGSHORE_PAYLOADS_MAX_BYTES and LONGSHORE_FILES_MAX_BYTES, or raise max_file_store (max_mem_store) of nats-server";
    throw new ServingError("UNAVAILABLE", `nats-server has no room for stream ${config.name}: ${thrown.message}; ${advice}`, {
      cause: thrown,
    });
  }
}

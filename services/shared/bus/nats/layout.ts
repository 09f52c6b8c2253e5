import { RECORD_BYTES_MAX } from "../codec.ts";
import type { BusSettings } from "../settings.ts";
import { nanos } from "./api.ts";
import type { Limit, StreamConfig, StreamPlan } from "./ensure-stream.ts";
import type { Names } from "./subjects.ts";

const MIB = 1_048_576;
/** Room for headers beside a record. */
const MESSAGE_BYTES_MAX = RECORD_BYTES_MAX + 4_096;

type Place = Names["beats"];

const LOG_AGE = { max_age: "LONGSHORE_LOG_MAX_AGE_SECONDS" };

/** Those of `all` that this process prepares. */
export function prepared(all: readonly StreamPlan[], names: Names, { streams }: Pick<BusSettings, "streams">): readonly StreamPlan[] {
  if (streams === "access") return all.filter(({ config }) => config.name === names.access.stream);
  return streams === "all" ? all : [];
}

/** Every stream of a cluster with every setting that matters, written out. */
export function layout(names: Names, settings: BusSettings): readonly StreamPlan[] {
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
  const queue = ({ stream, subject }: Place) => ({
    ...common,
    name: stream,
    subjects: [`${subject}.*.*.*.*`],
    retention: "workqueue",
    discard: "new",
    max_msgs: settings.queueMessagesMax,
    max_age, // a killed server may keep acked messages that no consumer sees any more: they must not fill the queue for ever
    duplicate_window,
  });
  const bucket = ({ stream, subject }: Place, lifeMs: number, more: object) => ({
    ...common,
    name: stream,
    subjects: [`${subject}.>`],
    retention: "limits",
    max_msgs_per_subject: 1,
    max_age: nanos(lifeMs),
    duplicate_window: nanos(Math.min(settings.dedupeMs, lifeMs)),
    ...more,
  });
  const objects = ({ stream, subject }: Place, lifeMs: number, max_bytes: number) => ({
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
  const plan = (config: StreamConfig, from: Partial<Record<Limit, string>> = {}): StreamPlan => ({
    config,
    from: { num_replicas: "LONGSHORE_NATS_REPLICAS", ...from },
  });
  const beats = bucket(names.beats, settings.beatLifeMs, { storage: "memory", discard: "old", max_bytes: 16 * MIB });
  const keys = bucket(names.keys, settings.keyLifeMs, { discard: "new", max_bytes: 256 * MIB }); // a key must not be forgotten early
  const access = bucket(names.access, settings.dedupeMs, { max_age: 0, discard: "new", max_bytes: 16 * MIB }); // until they are revoked
  return [
    plan(log, { ...LOG_AGE, max_bytes: "LONGSHORE_LOG_MAX_BYTES" }),
    plan(queue(names.prefill), { ...LOG_AGE, max_msgs: "LONGSHORE_QUEUE_JOBS_MAX" }),
    plan(queue(names.decode), { ...LOG_AGE, max_msgs: "LONGSHORE_QUEUE_JOBS_MAX" }),
    plan(beats, { max_age: "LONGSHORE_BEAT_MS" }),
    plan(keys),
    plan(bucket(names.marks, settings.logMaxAgeMs, { discard: "old", max_bytes: 64 * MIB }), LOG_AGE),
    plan(bucket(names.jobs, settings.logMaxAgeMs, { discard: "old", max_bytes: 256 * MIB }), LOG_AGE),
    plan(access),
    plan(bucket(names.documents, settings.filesMaxAgeMs, { discard: "new", max_bytes: settings.documentsMaxBytes })),
    plan(bucket(names.ends, settings.logMaxAgeMs, { discard: "new", max_bytes: settings.endsMaxBytes }), LOG_AGE),
    plan(objects(names.payloads, settings.logMaxAgeMs, settings.payloadsMaxBytes), {
      ...LOG_AGE,
      max_bytes: "LONGSHORE_PAYLOADS_MAX_BYTES",
    }),
    plan(objects(names.files, settings.filesMaxAgeMs, settings.filesMaxBytes), { max_bytes: "LONGSHORE_FILES_MAX_BYTES" }),
  ];
}

import { milliseconds, multipleOf, oneOf, optionalPort, seconds, text, url, whole, yesNo } from "./setting-kinds.ts";

/** Part of every segment key or of every job: processes that differ here do not share work. */
const cluster = {
  modelPath: text("deploy/models/yardlog", "Folder of the model: config.json, safetensors and tokenizer.json, as released."),
  modelName: text("", "Name by which clients ask for the model. Empty: the name of its folder."),
  thinking: oneOf(["disabled", "enabled"], "disabled", "Whether the model thinks first in chats whose request does not say."),
  mode: oneOf(
    ["serving", "exact"],
    "serving",
    "Precision of activations. `serving`: bf16 between operations, as trained. `exact`: float32 throughout.",
  ),
  plainKv: yesNo("no", "Keep KV and index keys unquantised, for comparison. Costs two to four times the cache."),
  segmentTokens: multipleOf(128, 512, "Tokens in a stored segment."),
  strictNumerics: yesNo(
    "no",
    "Puts the kernel path into segment keys: kinds of hardware then share no segments, so bits are equal across the cluster.",
  ),
  sharedSalt: text("", "Part of the segment keys of every tenant. Change it to forget all cached prefixes."),
} as const;

/** Where the two stores are, and how they keep what they are given. */
const stores = {
  natsUrl: url(
    ["nats:", "tls:", "memory:"],
    "memory:",
    "The record. `memory:` lives and dies with the process. For several servers of one cluster give whole URLs, separated by commas, the first with user and password. In these write % as %25, / as %2F, # as %23 and @ as %40.",
  ),
  natsPrefix: text("longshore", "Prefix of the name of every stream, bucket and subject, so that clusters can share a server."),
  redisUrl: url(
    ["redis:", "rediss:", "unix:", "memory:"],
    "memory:",
    "The cache of segments. `memory:` lives and dies with the process. For a Redis Cluster give one node, or several: whole URLs, separated by commas, the first with user and password, written as in LONGSHORE_NATS_URL.",
  ),
  redisPrefix: text("longshore", "Prefix of every key."),
  redisConnections: whole(
    2,
    { min: 1, max: 16 },
    "Connections that move segment values, from each process to each server; in a Redis Cluster to each master.",
  ),
  redisPieceBytes: whole(262_144, { min: 4096, max: 1_048_576 }, "Size of the pieces in which values travel and are kept."),
  redisTimeoutMs: milliseconds(5_000, { min: 50 }, "A store operation that takes longer counts as a miss."),
  memoryStoreBytes: whole(2_147_483_648, { min: 1_048_576 }, "Size of the `memory:` cache. The least recently used values go first."),
  segmentTtlSeconds: seconds(86_400, { min: 60 }, "How long an unused segment is kept."),
  boundaryTtlSeconds: seconds(1_800, { min: 10 }, "How long a boundary is kept."),
  boundaryTokens: multipleOf(128, 4_096, "Prompt tokens between one stored boundary and the next."),
} as const;

/** Limits of what the record keeps, which no process lowers: `bus/nats/ensure-stream.ts`. */
const record = {
  natsReplicas: whole(1, { min: 1, max: 5 }, "Copies of every stream and bucket. 3 survives the loss of a server."),
  logMaxBytes: whole(4_294_967_296, { min: 1_048_576 }, "Size of the job log. Above 80 % of it, new work is answered 429."),
  payloadsMaxBytes: whole(
    2_147_483_648,
    { min: 1_048_576 },
    "Room for prompts too large for a message. When it is full, they are answered 429.",
  ),
  filesMaxBytes: whole(
    4_294_967_296,
    { min: 1_048_576 },
    "Room for uploaded and produced files. When it is full, uploads are answered 429 and batches wait. A tenant may upload while its files take no more than is free.",
  ),
  logMaxAgeSeconds: seconds(
    604_800,
    { min: 3_600 },
    "Age at which the log drops an event. At least LONGSHORE_DEADLINE_SECONDS plus LONGSHORE_RETENTION_SECONDS.",
  ),
} as const;

const work = {
  deadlineSeconds: seconds(
    86_400,
    { min: 1 },
    "Time that a job has. Its request may ask for less; a line of a batch has until its batch ends.",
  ),
  retentionSeconds: seconds(259_200, { min: 1 }, "How long a job and its answer are kept after its end."),
  claimMs: milliseconds(20_000, { min: 200 }, "Another worker may take over a job whose claim made no progress for this long."),
  kvBytes: whole(
    0,
    { min: 0 },
    "Bytes of KV that the sequences of a worker may hold together. What several share counts once; one that is alone may hold more. 0: an eighth of the memory of the machine or the container.",
  ),
  attemptsMax: whole(5, { min: 1, max: 100 }, "A job fails after this many claims in a row that led nowhere."),
  graceMs: milliseconds(30_000, { min: 0 }, "A job whose last reader left is cancelled after this, unless it is detached."),
  queueJobsMax: whole(
    100_000,
    { min: 1 },
    "Jobs that may wait or be under way; beyond it new ones are answered 429. A tenant other than `default` may take as many as it leaves for others.",
  ),
  backlogTokensMax: whole(
    200_000_000,
    { min: 1 },
    "Tokens of prompts and expected answers that may wait or be under way; beyond it, or where a deadline cannot be met, new jobs are answered 429. A tenant other than `default` may take as many as it leaves for others.",
  ),
  shareMs: milliseconds(
    10_000,
    { min: 1 },
    "A tenant's share: what it asks beyond prompts that take prefill this long, or beyond half of decode's places, waits behind the work of others, but before batches. Not for the tenant `default`.",
  ),
  beatMs: milliseconds(1_000, { min: 100, times: 3 }, "How often a process shows that it is alive."),
  drainMs: milliseconds(
    10_000,
    { min: 100 },
    "How long a process that is told to stop may take to finish its chunk and hand back. More than LONGSHORE_CHUNK_MS.",
  ),
} as const;

const prefill = {
  chunkTokens: whole(1_024, { min: 128, max: 16_384 }, "Largest chunk of a prompt. Its working memory is set aside at the start."),
  chunkMs: milliseconds(
    4_000,
    { min: 10 },
    "Chunks are made so large that they take this long. A killed worker loses one, a worker that is told to stop finishes it, and a turn is three of them. Less than LONGSHORE_DRAIN_MS.",
  ),
  prefillSlots: whole(
    2,
    { min: 1, max: 64 },
    "Jobs that a prefill worker holds at once; their chunks alternate. While others wait, all but the first give up their places after a turn. LONGSHORE_KV_BYTES bounds what they hold.",
  ),
  uploadsMax: whole(8, { min: 1, max: 64 }, "Segments that may be on their way to the store while the next chunk is computed."),
} as const;

const decode = {
  batchMax: whole(
    32,
    { min: 1, max: 1_024 },
    "Sequences that a worker steps together, and the most tokens of a step, drafts included. LONGSHORE_KV_BYTES bounds what sequences hold.",
  ),
  draftMax: whole(
    7,
    { min: 0, max: 127 },
    "Most tokens of a draft: what an answer is likely to repeat is run ahead in the same step, where that pays. No answer depends on it; others in the batch wait about a fifth longer at most. V4 models allow no more than 7. 0: no drafts.",
  ),
  flushTokens: whole(8, { min: 1, max: 256 }, "Most tokens that are appended to the log together."),
  flushMs: whole(20, { min: 1, max: 1_000 }, "Longest time that a token waits for others before it is appended."),
} as const;

const batch = {
  batchLines: whole(
    256,
    { min: 1, max: 10_000 },
    "Lines of one batch that are under way at once. More lines keep more workers busy; each holds up to 64 KiB of its answer in memory.",
  ),
  batchesMax: whole(
    8,
    { min: 1, max: 256 },
    "Batches that a coordinator works on at once, and as many again that only have to end. Others wait; a tenant with the fewest at work comes first.",
  ),
  webhookUrl: text("", "URL that receives webhooks when batches, background responses and jobs end. Empty: none."),
  webhookSecret: text("", "Signs webhooks: whsec_ and at least 24 random bytes in base64 (Standard Webhooks)."),
} as const;

const engine = {
  engine: oneOf(["native", "weightless"], "native", "`weightless` needs no kernels and no weights: for tests of the cluster."),
  kernelPath: text("", "Kernel path: reference, avx2, avx512, ... Empty: the best that this machine has."),
  threads: whole(
    0,
    { min: 0, max: 1_024 },
    "Threads that compute. 0: one for each core, or for each whole core of the container's CPU limit.",
  ),
  stallMs: milliseconds(
    120_000,
    { min: 2_000 },
    "A worker whose engine finishes nothing for this long, not even a layer, is killed, and others take its jobs over.",
  ),
  weightlessChunkMs: milliseconds(0, { min: 0 }, "The weightless engine pretends that a chunk takes this long."),
  weightlessStepMs: milliseconds(0, { min: 0 }, "The weightless engine pretends that a step takes this long."),
} as const;

const api = {
  host: text("127.0.0.1", "Address that the API listens on, and workers and coordinators for LONGSHORE_STATUS_PORT."),
  port: whole(8_000, { min: 0, max: 65_535 }, "Port of the API. 0: any free one."),
  grpcPort: optionalPort("Port of the gRPC API. 0: any free one. Empty: there is none."),
  statusPort: whole(0, { min: 0, max: 65_535 }, "Port of /health, /ready and /metrics of workers and batch coordinators. 0: any free one."),
  bodyMaxBytes: whole(33_554_432, { min: 1_024 }, "Largest request body."),
  bodiesMaxBytes: whole(
    268_435_456,
    { min: 4_194_304 },
    "Bytes of request bodies held at once, from their arrival (up to 64 KiB from their announcement) until their job is made (over gRPC: until the call ends). Beyond it: 429; for one tenant beyond half of it, or one body of the largest size if that is more. At least LONGSHORE_BODY_MAX_BYTES.",
  ),
  heartbeatMs: milliseconds(10_000, { min: 100, times: 3 }, "After this much silence on an event stream a comment line is sent."),
  streamBufferBytes: whole(
    1_048_576,
    { min: 262_144 },
    "Most bytes held for the reader of an event stream, beside one event. A reader that takes nothing is cut off, and can resume.",
  ),
  apiKeys: text("", "SHA-256 digests (hex), separated by commas, of keys that are accepted beside those of `longshore keys`."),
  requireKeys: yesNo("no", "`yes`: nobody gets in while there is no key. `no`: everybody does. Set it where others reach the port."),
  tlsCertFile: text(
    "",
    "PEM file of the API's certificate and its chain. With LONGSHORE_TLS_KEY_FILE: https instead of http, and gRPC over TLS.",
  ),
  tlsKeyFile: text("", "PEM file of the certificate's private key."),
} as const;

const client = {
  key: text("", "API key for the commands that ask an API. The same as --key, but others on the machine do not see it."),
} as const;

const runtime = {
  logLevel: oneOf(["trace", "debug", "info", "warn", "error", "silent"], "info", "Least severe level that is logged."),
} as const;

/** In the order of the reference. */
export const settingGroups = { cluster, record, stores, work, prefill, decode, batch, engine, api, client, runtime } as const;

export const settings = {
  ...cluster,
  ...record,
  ...stores,
  ...work,
  ...prefill,
  ...decode,
  ...batch,
  ...engine,
  ...api,
  ...client,
  ...runtime,
};

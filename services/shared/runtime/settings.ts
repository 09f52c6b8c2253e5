import { milliseconds, multipleOf, oneOf, optionalPort, seconds, text, url, whole, yesNo } from "./setting-kinds.ts";

/** Part of every segment key or of every job: processes that differ here do not share work. */
const cluster = {
  modelPath: text("deploy/models/yardlog", "Folder with config.json, safetensors and tokenizer.json, as released."),
  modelName: text("", "Name clients use. Empty: the name of the model's folder."),
  thinking: oneOf(["disabled", "enabled"], "disabled", "Whether a chat that does not say so begins by thinking."),
  mode: oneOf(["serving", "exact"], "serving", "Activations: bf16 between operations as trained, or float32 throughout."),
  plainKv: yesNo("no", "Keep KV and index keys unquantised, for comparison. Costs two to four times the cache."),
  segmentTokens: multipleOf(128, 512, "Tokens a stored segment covers."),
  strictNumerics: yesNo(
    "no",
    "Put the kernel path into segment keys: equal bits across the cluster, no sharing between kinds of hardware.",
  ),
  sharedSalt: text("", "Mixed into the segment keys of every tenant. Change it to forget all cached prefixes."),
} as const;

/** Where the two stores are, and how they keep what they are given. */
const stores = {
  natsUrl: url(
    ["nats:", "tls:", "memory:"],
    "memory:",
    "The record. `memory:` lives and dies with the process. Several servers of one cluster: whole URLs, separated by commas, the first with user and password. In these % is written %25, / %2F, # %23 and @ %40.",
  ),
  natsPrefix: text("longshore", "Begins the name of every stream, bucket and subject, so that clusters can share a server."),
  redisUrl: url(
    ["redis:", "rediss:", "unix:", "memory:"],
    "memory:",
    "The cache of segments. `memory:` lives and dies with the process. Of a Redis Cluster one node, or several: whole URLs, separated by commas, the first with user and password. A password as in LONGSHORE_NATS_URL.",
  ),
  redisPrefix: text("longshore", "Begins every key."),
  redisConnections: whole(
    2,
    { min: 1, max: 16 },
    "Connections that move segment values, per process and server: to each master of a Redis Cluster so many.",
  ),
  redisPieceBytes: whole(262_144, { min: 4096, max: 1_048_576 }, "Values travel and are kept in pieces of this size."),
  redisTimeoutMs: milliseconds(5_000, { min: 50 }, "After this a store operation counts as a miss."),
  memoryStoreBytes: whole(2_147_483_648, { min: 1_048_576 }, "Bound of the `memory:` cache; the least recently used values go first."),
  segmentTtlSeconds: seconds(86_400, { min: 60 }, "How long an unused segment is kept."),
  boundaryTtlSeconds: seconds(1_800, { min: 10 }, "How long a boundary is kept."),
  boundaryTokens: multipleOf(128, 4_096, "A boundary is stored after every so many tokens of a prompt."),
} as const;

/** Limits of what the record keeps, which no process lowers: `bus/nats/ensure-stream.ts`. */
const record = {
  natsReplicas: whole(1, { min: 1, max: 5 }, "Copies of every stream and bucket. 3 survives the loss of a server."),
  logMaxBytes: whole(4_294_967_296, { min: 1_048_576 }, "Size of the job log. At 80 % of it new work is answered 429."),
  payloadsMaxBytes: whole(
    2_147_483_648,
    { min: 1_048_576 },
    "Room for prompts too large for a message. Without any, they are answered 429.",
  ),
  filesMaxBytes: whole(
    4_294_967_296,
    { min: 1_048_576 },
    "Room for uploaded and produced files. Without any, uploads are answered 429 and batches wait. A tenant may upload while its files take no more than is free.",
  ),
  logMaxAgeSeconds: seconds(
    604_800,
    { min: 3_600 },
    "Age at which the log drops an event. Longer than the longest deadline plus the time results are kept.",
  ),
} as const;

const work = {
  deadlineSeconds: seconds(86_400, { min: 1 }, "A job ends after this, sooner if its request says so; a batch's line with its batch."),
  retentionSeconds: seconds(259_200, { min: 1 }, "How long a job, its answer included, is kept after its end."),
  claimMs: milliseconds(20_000, { min: 200 }, "A claim without progress for this long may be taken over."),
  kvBytes: whole(
    0,
    { min: 0 },
    "Bytes of KV that the sequences of a worker hold together; one that is alone may hold more. What several share counts once. 0: an eighth of the memory of the machine or the container.",
  ),
  attemptsMax: whole(5, { min: 1, max: 100 }, "Claims in a row that led nowhere before a job fails."),
  graceMs: milliseconds(30_000, { min: 0 }, "A job whose last reader left is cancelled after this, unless it is detached."),
  queueJobsMax: whole(
    100_000,
    { min: 1 },
    "Jobs waiting or under way before new ones are answered 429. A tenant but `default` takes no more of it than it leaves for others.",
  ),
  backlogTokensMax: whole(
    200_000_000,
    { min: 1 },
    "Tokens waiting or under way, of prompts and expected answers, before new jobs are answered 429. Sooner where a deadline cannot be met; a tenant but `default` takes no more of it than it leaves for others.",
  ),
  shareMs: milliseconds(
    10_000,
    { min: 1 },
    "Prompts of one tenant that take prefill longer than this wait behind the work of others, and so do its jobs beyond half of decode's places; before batches. Not of the tenant `default`.",
  ),
  beatMs: milliseconds(1_000, { min: 100, times: 3 }, "How often a process shows it is alive."),
  drainMs: milliseconds(
    10_000,
    { min: 100 },
    "How long a process told to stop may take to finish its chunk and hand back. More than LONGSHORE_CHUNK_MS.",
  ),
} as const;

const prefill = {
  chunkTokens: whole(
    1_024,
    { min: 128, max: 16_384 },
    "The most prompt tokens computed together. What they work in is set aside at the start.",
  ),
  chunkMs: milliseconds(
    4_000,
    { min: 10 },
    "Chunks are made as large as takes this long: a killed worker loses one, one told to stop finishes it, a turn is three of them. Less than LONGSHORE_DRAIN_MS.",
  ),
  prefillSlots: whole(
    2,
    { min: 1, max: 64 },
    "Jobs a prefill worker holds at once, which take turns by chunks. While others wait, all but the first give up their places after a turn. LONGSHORE_KV_BYTES bounds what they hold.",
  ),
  uploadsMax: whole(8, { min: 1, max: 64 }, "Segments on their way to the store while the next chunk is computed."),
} as const;

const decode = {
  batchMax: whole(
    32,
    { min: 1, max: 1_024 },
    "Sequences stepped together, and tokens of a step, drafts among them. LONGSHORE_KV_BYTES bounds what sequences hold.",
  ),
  draftMax: whole(
    7,
    { min: 0, max: 127 },
    "The most tokens of an answer that are run ahead in a step because they repeat what stands before, where that pays. No token depends on it; who waits beside a draft does so about a fifth longer at most; 7 is all that V4 models allow. 0: none.",
  ),
  flushTokens: whole(8, { min: 1, max: 256 }, "Tokens appended to the log together."),
  flushMs: whole(20, { min: 1, max: 1_000 }, "The longest a token waits for others before it is appended."),
} as const;

const batch = {
  batchLines: whole(
    256,
    { min: 1, max: 10_000 },
    "Lines of one batch under way at once. More keep more workers busy; each holds up to 64 KiB of its answer in memory.",
  ),
  batchesMax: whole(
    8,
    { min: 1, max: 256 },
    "Batches one coordinator works on at once, and as many again that only have to end. Others wait, those of a tenant with the fewest at work first.",
  ),
  webhookUrl: text("", "Where the ends of batches, background responses and jobs are told. Empty: nowhere."),
  webhookSecret: text("", "Signs what is told: whsec_ and at least 24 random bytes in base64 (Standard Webhooks)."),
} as const;

const engine = {
  engine: oneOf(["native", "weightless"], "native", "`weightless` needs no kernels and no weights: for tests of the cluster."),
  kernelPath: text("", "reference, avx2, avx512, ... Empty: the best this machine has."),
  threads: whole(0, { min: 0, max: 1_024 }, "Threads that compute. 0: as many as cores, or as whole cores of the container's share."),
  stallMs: milliseconds(
    120_000,
    { min: 2_000 },
    "A worker whose engine finishes nothing for this long, not even a layer, is killed: others take over.",
  ),
  weightlessChunkMs: milliseconds(0, { min: 0 }, "The weightless engine pretends that a chunk takes this long."),
  weightlessStepMs: milliseconds(0, { min: 0 }, "The weightless engine pretends that a step takes this long."),
} as const;

const api = {
  host: text("127.0.0.1", "Address the API listens on, and workers with LONGSHORE_STATUS_PORT."),
  port: whole(8_000, { min: 0, max: 65_535 }, "Port of the API. 0: any free one."),
  grpcPort: optionalPort("Port of the gRPC API. 0: any free one. Empty: there is none."),
  statusPort: whole(
    0,
    { min: 0, max: 65_535 },
    "Workers and coordinators of batches: port of /health, /ready and /metrics. 0: any free one.",
  ),
  bodyMaxBytes: whole(33_554_432, { min: 1_024 }, "Largest request body."),
  bodiesMaxBytes: whole(
    268_435_456,
    { min: 4_194_304 },
    "Request bodies held at once: as they arrive (64 KiB at most when they are announced), or read and not yet a job (over gRPC: until the call ends). Beyond it, and for a tenant beyond half of it or one of the largest: 429. At least one of the largest.",
  ),
  heartbeatMs: milliseconds(10_000, { min: 100, times: 3 }, "Silence on an event stream before a comment line is sent."),
  streamBufferBytes: whole(
    1_048_576,
    { min: 262_144 },
    "The most bytes held for the reader of an event stream, beside one event; one that takes nothing is cut off, and can resume.",
  ),
  apiKeys: text("", "Comma-separated SHA-256 digests (hex) of keys that are accepted beside those of `longshore keys`."),
  requireKeys: yesNo("no", "Whether nobody gets in while there is no key. Otherwise everybody does: set it where others reach the port."),
  tlsCertFile: text(
    "",
    "PEM of the API's certificate and those that vouch for it. With LONGSHORE_TLS_KEY_FILE: https instead of http, and gRPC over TLS.",
  ),
  tlsKeyFile: text("", "PEM of the certificate's private key."),
} as const;

const client = {
  key: text("", "API key of the commands that ask an API, as --key, which others on the machine may see."),
} as const;

const runtime = {
  logLevel: oneOf(["trace", "debug", "info", "warn", "error", "silent"], "info", "Least level that is written."),
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

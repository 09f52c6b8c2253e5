import { type Clock, systemClock } from "../runtime/clock.ts";
import { type Random, systemRandom } from "../runtime/random.ts";
import type { LogRules } from "./log.ts";

/**
 * Everything a bus needs to know. Processes that share a record must agree on all but url, clock, random, the waits and
 * the callbacks; of sizes, copies and ages the largest stands.
 */
export interface BusSettings extends LogRules {
  /**
   * `memory:`, or `nats://host:4222` with `user:password@` or `token@` where needed, `tls://` for TLS; several whole
   * URLs separated by commas.
   */
  readonly url: string;
  /** Begins the name of every stream, bucket and subject. Letters, digits, `-` and `_`. */
  readonly prefix: string;
  /** Copies of every stream. */
  readonly replicas: number;
  readonly logMaxBytes: number;
  readonly logMaxAgeMs: number;
  /** How long the ids of appends and publishes are remembered. */
  readonly dedupeMs: number;
  /**
   * A delivered message comes again after this long without `working()`: a little more than a claim lives, so that the
   * worker that gets it can claim.
   */
  readonly ackWaitMs: number;
  /** Messages a phase may hold. */
  readonly queueMessagesMax: number;
  readonly payloadBytesMax: number;
  /** Bytes of all payloads. */
  readonly payloadsMaxBytes: number;
  /** Bytes of all parts of files, and how long they and all documents are kept. */
  readonly filesMaxBytes: number;
  readonly filesMaxAgeMs: number;
  /** Bytes of the documents of batches and files, and of those of ends that webhooks have to tell. */
  readonly documentsMaxBytes: number;
  readonly endsMaxBytes: number;
  readonly beatLifeMs: number;
  /** How long `remember` remembers. */
  readonly keyLifeMs: number;
  /** How long one try of a request waits before it is repeated. */
  readonly tryMs: number;
  /**
   * Which streams are prepared: all, those of API keys alone, for a command that knows nothing of the cluster's
   * settings, or none, for one that only looks.
   */
  readonly streams: "all" | "access" | "none";
  /**
   * Called each time the record is prepared and keeps more than these settings ask for, with one line for each limit
   * that stays.
   */
  readonly onKept: (lines: readonly string[]) => void;
  readonly clock: Clock;
  readonly random: Random;
}

const defaults = {
  prefix: "longshore",
  replicas: 1,
  claimMs: 20_000,
  attemptsMax: 5,
  answerMs: 5_000,
  appendMs: 300_000,
  logMaxBytes: 4_294_967_296,
  logMaxAgeMs: 604_800_000,
  dedupeMs: 120_000,
  queueMessagesMax: 1_000_000,
  payloadBytesMax: 33_554_432,
  payloadsMaxBytes: 2_147_483_648,
  filesMaxBytes: 4_294_967_296,
  documentsMaxBytes: 268_435_456,
  endsMaxBytes: 268_435_456, // 920,000 ends
  filesMaxAgeMs: 31 * 86_400_000, // a day more than files are shown, so that none is shown whose parts are gone
  beatLifeMs: 5_000,
  keyLifeMs: 86_400_000,
  tryMs: 2_000,
  streams: "all" as const,
  onKept: () => {},
  clock: systemClock,
  random: systemRandom,
};

export type BusOptions = Pick<BusSettings, "url"> & Partial<BusSettings>;

export function busSettings(options: BusOptions): BusSettings {
  const claimMs = options.claimMs ?? defaults.claimMs;
  return { ...defaults, ackWaitMs: Math.ceil(claimMs * 1.1), ...options };
}

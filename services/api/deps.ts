import type { Bus } from "../shared/bus/contract.ts";
import type { Clock } from "../shared/runtime/clock.ts";
import type { Config } from "../shared/runtime/config.ts";
import type { Logger } from "../shared/runtime/log.ts";
import type { Metrics } from "../shared/runtime/metrics.ts";
import type { Random } from "../shared/runtime/random.ts";
import type { Admission } from "./admission/admission.ts";
import type { Identify } from "./auth.ts";
import type { Failures } from "./failures.ts";
import type { BodyRoom } from "./http/body-room.ts";
import type { Readers } from "./jobs/readers.ts";
import type { Retries } from "./jobs/retries.ts";
import type { Limits } from "./keys/limits.ts";
import type { ServedModel } from "./model.ts";

/** Everything a route may use. */
export interface ApiDeps {
  readonly config: Config;
  readonly bus: Bus;
  readonly model: ServedModel;
  readonly readers: Readers;
  readonly admission: Admission;
  readonly retries: Retries;
  readonly bodies: BodyRoom;
  /** The name of this process among the replicas. */
  readonly replica: string;
  readonly identify: Identify;
  readonly limits: Limits;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Logger;
  readonly failures: Failures;
  readonly metrics: Metrics;
  /** Aborts when the process is told to stop: open streams end, so that their readers resume elsewhere. */
  readonly stopping: AbortSignal;
}

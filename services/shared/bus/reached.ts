import { isUnavailable, ServingError } from "../runtime/errors.ts";
import { mayPass, RecordAway, toldOf } from "./away.ts";
import type { Bus } from "./contract.ts";

/**
 * Waits up to this long are not reported: for a command, and for a process that may be the first to make the streams.
 */
const QUIET_MS = 1_000;
const QUIET_MS_PATIENT = 5_000;

interface Waiting {
  readonly ms: number;
  /** Called with what is waited for, after a moment. */
  readonly say: (text: string) => void;
  /**
   * Whether the servers may still be starting; if not, an absence that waiting alone does not mend is not waited for.
   */
  readonly patient: boolean;
}

/** Resolves once the record answers; rejects as `ready` does, in words for the operator. */
export async function reached(bus: Pick<Bus, "ready">, { ms, say, patient }: Waiting): Promise<void> {
  const quietMs = Math.min(ms, patient ? QUIET_MS_PATIENT : QUIET_MS);
  try {
    await bus.ready(quietMs);
    return;
  } catch (thrown) {
    if (!(patient ? isUnavailable : mayPass)(thrown)) throw forOperators(thrown);
    say(`waiting ${Math.round(ms / 1_000)} s at most for the record: ${toldOf(thrown)}`);
  }
  await bus.ready(ms - quietMs).catch((thrown: unknown) => {
    throw forOperators(thrown);
  });
}

const forOperators = (thrown: unknown): unknown =>
  thrown instanceof RecordAway ? new ServingError("UNAVAILABLE", thrown.told, { cause: thrown }) : thrown;

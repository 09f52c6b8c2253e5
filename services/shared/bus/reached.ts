import { isUnavailable, ServingError } from "../runtime/errors.ts";
import { RecordAway, toldOf } from "./away.ts";
import type { Bus } from "./contract.ts";

/** A start that takes no longer is not worth a word. */
const QUIET_MS = 1_000;

interface Waiting {
  readonly ms: number;
  /** Is told, after a second, what is waited for. */
  readonly say: (text: string) => void;
  /** Whether who starts the servers may still be at it: else what waiting alone does not mend is not waited for. */
  readonly patient: boolean;
}

/** Resolves once the record answers; rejects as `ready` does, in words for whoever runs the cluster. */
export async function reached(bus: Pick<Bus, "ready">, { ms, say, patient }: Waiting): Promise<void> {
  try {
    await bus.ready(QUIET_MS);
    return;
  } catch (thrown) {
    if (!isUnavailable(thrown) || (thrown instanceof RecordAway && thrown.lasts && !patient)) throw forOperators(thrown);
    say(`waiting ${Math.round(ms / 1_000)} s at most for the record: ${toldOf(thrown)}`);
  }
  await bus.ready(ms - QUIET_MS).catch((thrown: unknown) => {
    throw forOperators(thrown);
  });
}

const forOperators = (thrown: unknown): unknown =>
  thrown instanceof RecordAway ? new ServingError("UNAVAILABLE", thrown.told, { cause: thrown }) : thrown;

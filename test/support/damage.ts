import { connect } from "nats";
import type { Bus } from "../../services/shared/bus/contract.ts";
import { memoryBus, memoryJournal } from "../../services/shared/bus/memory/bus.ts";
import { token } from "../../services/shared/bus/name.ts";
import { openBus } from "../../services/shared/bus/open.ts";
import { type BusOptions, busSettings } from "../../services/shared/bus/settings.ts";

export const junk = Buffer.from("no record of ours");
/** A field that this version does not know, in place of an event. */
export const newer = Uint8Array.of(0xa2, 0x06, 0x01, 0x00);

/** A bus whose log others can write to. */
export interface OpenToOthers {
  readonly bus: Bus;
  /** Writes bytes behind a job's last event, past our own code. Resolves to their sequence. */
  write(jobId: string, bytes: Uint8Array): Promise<number>;
}

export function memoryOpenToOthers(options: Partial<BusOptions> = {}): OpenToOthers {
  const settings = busSettings({ url: "memory:", ...options });
  const journal = memoryJournal(settings);
  let writes = 0;
  return {
    bus: memoryBus(settings, journal),
    write: async (jobId, bytes) => {
      const outcome = await journal.append(jobId, bytes, (await journal.last(jobId))?.sequence ?? 0, `somebody ${++writes}`);
      if (outcome.kind !== "stored") throw new Error(outcome.kind);
      return outcome.sequence;
    },
  };
}

/** `options.prefix` is the log that is written to. */
function natsOpenToOthers(options: BusOptions & { readonly prefix: string }): OpenToOthers {
  return {
    bus: openBus(options),
    write: async (jobId, bytes) => {
      const hand = await connect({ servers: options.url });
      const answer = await hand.request(`${options.prefix}.log.${token(jobId)}`, bytes);
      await hand.close();
      return (answer.json() as { seq: number }).seq;
    },
  };
}

/** Opens the record that the options name. */
export const openToOthers = (options: BusOptions & { readonly prefix: string }): OpenToOthers =>
  options.url === "memory:" ? memoryOpenToOthers(options) : natsOpenToOthers(options);

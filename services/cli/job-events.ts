import { ServingError } from "../shared/runtime/errors.ts";
import { Absence, type OnAway } from "./absence.ts";
import type { Client } from "./client.ts";

/** Of the events of a job, what the commands show. */
interface JobEvent {
  readonly name: string;
  /** `progress`: prompt tokens. */
  readonly done?: number;
  readonly total?: number;
  /** `handed_over`: tokens computed again because no boundary was stored at the end of what the cache held. */
  readonly recomputed?: number;
  /** Output tokens so far. */
  readonly tokens?: number;
}

/** An API says on a stream that it is there, six times as often unless it was set otherwise: whoever says nothing for so long is asked again. */
const SILENT_MS = 60_000;
/** What the end of a replica, or of its record, says on a stream. */
const PASSING = ["shutting_down", "unavailable"];

interface Following {
  readonly onAway: OnAway;
  readonly silentMs: number;
  /** How long nobody may tell events; 0: they are asked for once. */
  readonly awayMaxMs: number;
}

/** A job's events until it ended, each once: where their stream breaks off it goes on, at whatever replica answers. Throws if none does any more. */
export async function* jobEvents(
  client: Client,
  jobId: string,
  { onAway = () => {}, silentMs = SILENT_MS, awayMaxMs }: Partial<Following> = {},
): AsyncGenerator<JobEvent> {
  let after = "0";
  const absence = new Absence(onAway, undefined, awayMaxMs);
  const answers = () => {
    absence.ended();
    onAway(null);
  };
  for (;;) {
    try {
      const path = `/v1/jobs/${encodeURIComponent(jobId)}/events?after=${after}`;
      for await (const { name, id, data } of client.events(path, silentMs, answers)) {
        const event = JSON.parse(data) as JobEvent & { error?: { message: string; code: string | null } };
        if (event.error !== undefined)
          throw new ServingError(PASSING.includes(event.error.code ?? "") ? "UNAVAILABLE" : "INTERNAL", `${jobId}: ${event.error.message}`);
        if (id !== "") after = id.slice(id.indexOf(":") + 1);
        answers();
        yield { ...event, name };
      }
      return;
    } catch (error) {
      await absence.outlast(error);
    }
  }
}

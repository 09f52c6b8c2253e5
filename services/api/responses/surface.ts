import { ServingError } from "../../shared/runtime/errors.ts";
import { JobError } from "../answer/answer.ts";
import type { Surface } from "../answer/surface.ts";
import type { View } from "../answer/view.ts";
import { ResponseWriter, type Written } from "./writer.ts";

/** An answer as a response of items. `after`: the number of the last event that the reader has seen, or -1. */
export function responsesSurface(written: Written, after: number): Surface {
  const writer = new ResponseWriter(written, after);
  return {
    heartbeat: null,
    farewell: [],
    opening: () => writer.opening(),
    claimed: () => writer.begin(),
    progress: () => [],
    more: (deltas) => writer.add(deltas),
    closing: (end) => writer.finish(end),
    usage: () => [], // response.completed has it
    failure: (error) => (error instanceof JobError ? writer.fail(error) : writer.breakOff(error)),
    whole: ([answer]) => {
      const whole = new ResponseWriter(written);
      whole.add(answer!.deltas);
      whole.finish(answer!.end);
      return whole.response();
    },
  };
}

/** What a response is written from. The echo must have been read (`echoKept`). */
export function writtenOf({ jobId, model, view }: { readonly jobId: string; readonly model: string; readonly view: View }): Written {
  const { response, created } = view;
  if (response === undefined || response.echo === "payload")
    throw new ServingError("INTERNAL", `the view of ${jobId} is not that of a response`);
  return { jobId, model, created, background: response.background, echo: response.echo.value };
}

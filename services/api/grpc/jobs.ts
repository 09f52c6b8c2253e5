import type { UntypedServiceImplementation } from "@grpc/grpc-js";
import { findJob } from "../answer/follow.ts";
import type { ApiDeps } from "../deps.ts";
import { cancelJob } from "../jobs/jobs.ts";
import type { Reader } from "../jobs/readers.ts";
import { jobMessage, updates } from "./answers.ts";
import { type Call, streaming, unary } from "./calls.ts";
import type { IdMessage, JobMessage, SubmitMessage, UpdateMessage, WatchMessage } from "./messages.ts";
import { submitMessage } from "./requests.ts";

/** The service longshore.v1.Jobs. */
export function jobMethods(deps: ApiDeps): UntypedServiceImplementation {
  const { bus, readers, log } = deps;
  const find = ({ id = "" }: IdMessage, { caller }: Call) => findJob(bus, id, caller.tenant);
  const told = async (message: IdMessage, call: Call) => jobMessage(deps, await find(message, call));

  const submit = async (message: SubmitMessage, call: Call, detached: boolean) => {
    const submitted = await submitMessage(deps, message, call, detached);
    log.info({ path: call.path, jobId: submitted.jobId }, "submitted");
    return submitted;
  };

  /** Told to whoever reads, and to those who count readers. */
  async function* read(jobId: string, reader: Reader, after: number, { signal }: Call) {
    const leave = readers.enter(jobId, reader);
    let ended = false;
    try {
      for await (const update of updates(deps, jobId, after, signal)) {
        ended = update.usage !== undefined || update.error !== undefined;
        yield update;
      }
    } finally {
      leave(ended);
    }
  }

  async function* watch(message: WatchMessage, call: Call): AsyncGenerator<UpdateMessage> {
    const { jobId, request } = await find(message, call);
    yield* read(jobId, { owned: false, detached: request.detached }, message.after ?? 0, call);
  }

  async function* generate(message: SubmitMessage, call: Call): AsyncGenerator<UpdateMessage> {
    const { jobId, created, shared } = await submit(message, call, false);
    yield* read(jobId, { owned: created, shared, detached: false }, 0, call);
  }

  return {
    Submit: unary<SubmitMessage, JobMessage>(deps, async (message, call) => told({ id: (await submit(message, call, true)).jobId }, call)),
    Get: unary<IdMessage, JobMessage>(deps, told),
    Cancel: unary<IdMessage, JobMessage>(deps, async (message, call) => {
      await cancelJob(bus, (await find(message, call)).jobId, "a request to cancel it");
      return told(message, call);
    }),
    Watch: streaming<WatchMessage, UpdateMessage>(deps, watch),
    Generate: streaming<SubmitMessage, UpdateMessage>(deps, generate),
  } as UntypedServiceImplementation;
}

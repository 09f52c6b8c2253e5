import { once } from "node:events";
import {
  type handleServerStreamingCall,
  type handleUnaryCall,
  ServerInterceptingCall,
  type ServerInterceptor,
  type ServerUnaryCall,
  type ServerWritableStream,
  status,
} from "@grpc/grpc-js";
import { refusal, ServingError } from "../../shared/runtime/errors.ts";
import { linked } from "../../shared/runtime/pause.ts";
import type { Caller } from "../auth.ts";
import { countAnswers } from "../count-answers.ts";
import type { ApiDeps } from "../deps.ts";
import { stalledMs } from "../http/sse.ts";
import { UNREADABLE } from "./definition.ts";
import { statusOf } from "./status.ts";
import { refuseCompressed, watchArrival, watchEnd, watchTaking } from "./transport.ts";

/** What a method knows of the call beside its request. */
export interface Call {
  readonly caller: Caller;
  readonly path: string;
  /** Aborts when the client leaves, its deadline passes, or the process stops. */
  readonly signal: AbortSignal;
  /** Of the client, wall clock; null: none. */
  readonly deadlineMs: number | null;
}

type AnyCall = ServerUnaryCall<unknown, unknown> | ServerWritableStream<unknown, unknown>;

export const unary =
  <Request, Response>(deps: ApiDeps, handle: (request: Request, call: Call) => Promise<Response>): handleUnaryCall<Request, Response> =>
  (call, callback) => {
    during(deps, call as ServerUnaryCall<unknown, unknown>, (about) => handle(call.request, about)).then(
      (response) => callback(null, response),
      (thrown) => callback(statusOf(told(deps, call.getPath(), thrown))),
    );
  };

/** Messages go out as fast as the client takes them: a slow one is waited for by its own call alone (I9), and cut off at the door if it takes none. */
export const streaming =
  <Request, Response>(
    deps: ApiDeps,
    handle: (request: Request, call: Call) => AsyncGenerator<Response>,
  ): handleServerStreamingCall<Request, Response> =>
  (call) => {
    const write = async (about: Call): Promise<void> => {
      try {
        for await (const message of handle(call.request, about)) {
          if (!call.write(message)) await once(call, "drain", { signal: about.signal });
        }
      } catch (thrown) {
        about.signal.throwIfAborted();
        throw thrown;
      }
      about.signal.throwIfAborted();
    };
    during(deps, call as ServerWritableStream<unknown, unknown>, write).then(
      () => call.end(),
      (thrown) => call.emit("error", statusOf(told(deps, call.getPath(), thrown))),
    );
  };

/** UNAUTHORIZED for whoever does not get in, INVALID_REQUEST for a message that cannot be read; else what becomes of the call. */
async function during<T>({ identify, stopping }: ApiDeps, call: AnyCall, become: (about: Call) => Promise<T>): Promise<T> {
  stopping.throwIfAborted();
  if (call.request === UNREADABLE) throw refusal("the message does not decode as this method's request in the .proto file");
  const gone = new AbortController();
  call.on("cancelled", () => gone.abort(new ServingError("CANCELLED", "the client disconnected")));
  const deadline = Number(call.getDeadline());
  const caller = identify(headersOf(call));
  const { signal, release } = linked(gone.signal, stopping);
  try {
    return await become({ caller, path: call.getPath(), signal, deadlineMs: Number.isFinite(deadline) ? deadline : null });
  } finally {
    release();
  }
}

/**
 * Turns away whoever has no key before anything of the message is taken, and the message that is compressed or finds no room; health and reflection
 * ask for no key. Lets go who takes nothing of what he is answered, and counts how calls end.
 */
export function atTheDoor(deps: Pick<ApiDeps, "identify" | "bodies" | "config" | "metrics" | "stopping">): ServerInterceptor {
  const answered = countAnswers(deps);
  return ({ path }, call) => {
    watchEnd(call, (code) => answered(path, status[code]));
    watchTaking(call, stalledMs(deps.config));
    return new ServerInterceptingCall(call, {
      sendMetadata: (metadata, next) => {
        metadata.set("grpc-accept-encoding", "identity"); // grpc-js would say gzip
        next(metadata);
      },
      start: (next) => {
        const arrival = watchArrival(deps, call);
        next({
          onReceiveMetadata: (metadata, take) => {
            try {
              if (path.startsWith("/longshore.v1.")) arrival.from(deps.identify(headersOf({ metadata })));
              refuseCompressed(call);
            } catch (thrown) {
              arrival.refuse(thrown);
              return;
            }
            take(metadata);
          },
          onReceiveMessage: (message, take) => {
            arrival.whole();
            take(message);
          },
          onCancel: () => arrival.over(),
        });
      },
    });
  };
}

const headersOf = ({ metadata }: Pick<AnyCall, "metadata">): Record<string, string> =>
  Object.fromEntries(Object.entries(metadata.getMap()).map(([name, value]) => [name, String(value)]));

function told({ failures }: ApiDeps, path: string, thrown: unknown): ServingError {
  const error = ServingError.from(thrown);
  failures.tell("call failed", { path }, error);
  return error;
}

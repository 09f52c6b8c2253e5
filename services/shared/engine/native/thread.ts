import { type MessagePort, parentPort, workerData } from "node:worker_threads";
import { ServingError } from "../../runtime/errors.ts";
import type { Sealed } from "../engine.ts";
import { adoptBuffer, type NativeBuffer } from "../kernels.ts";
import type { ThreadCall } from "../threads/thread-calls.ts";
import { toWire } from "../threads/wire-error.ts";
import { EngineCore } from "./core.ts";
import type { NativeOptions } from "./options.ts";
import type { CallKind, Handle, Input, Output, Reply, Request } from "./protocol.ts";

/** The engine's own thread: opens the core, reports ready, then answers one request after the other until shutdown. */
function serve(port: MessagePort, options: NativeOptions): void {
  const reply = (message: Reply) => port.postMessage(message);
  let core: EngineCore;
  try {
    core = new EngineCore(options);
  } catch (error) {
    reply({ kind: "unready", error: toWire(error) });
    return;
  }
  port.on("message", ({ id, request }: ThreadCall<Request>) => {
    try {
      reply({ kind: "done", id, output: answer(core, request, (done) => reply({ kind: "progress", id, done })) });
    } catch (error) {
      reply({ kind: "failed", id, error: toWire(error) });
    }
    if (request.kind === "shutdown") port.close();
  });
  reply({ kind: "ready", ready: core.info });
}

function answer(core: EngineCore, { kind, input }: Request, progress: (layersDone: number) => void): Output<CallKind> {
  switch (kind) {
    case "open":
      return open(core, input);
    case "prefill":
      return prefill(core, input, progress);
    case "step":
      return core
        .step(input.batch)
        .map((result) => ("failed" in result ? { failed: toWire(result.failed) } : { ...result, sealed: lend(result.sealed) }));
    case "boundary":
      return core.boundary(input.sequence);
    case "close":
      core.close(input.sequence);
      return null;
    case "shutdown":
      core.shutdown();
      return null;
  }
}

function open(core: EngineCore, { segments, boundary }: Input<"open">): Output<"open"> {
  const adopted = segments.map(adoptBuffer);
  try {
    return core.open(adopted, boundary);
  } catch (error) {
    for (const buffer of adopted) buffer.release();
    throw error;
  }
}

function prefill(core: EngineCore, input: Input<"prefill">, progress: (layersDone: number) => void): Output<"prefill"> {
  const { sequence, ids, sample, allowed, abort } = input;
  const listened = input.progress || abort !== null;
  const onLayer = (layersDone: number) => {
    if (abort !== null && Atomics.load(abort, 0) === 1) throw new ServingError("CANCELLED", `aborted after ${layersDone} layers`);
    if (input.progress && layersDone > 0) progress(layersDone);
  };
  const { sealed, ...drawn } = core.prefill(sequence, ids, sample, listened ? onLayer : undefined, allowed);
  return { ...drawn, sealed: lend(sealed) };
}

/** Hands the references over to the other thread. */
const lend = (sealed: readonly Sealed<NativeBuffer>[]): Sealed<Handle>[] =>
  sealed.map(({ index, payload }) => {
    const handle = payload.lend();
    payload.release();
    return { index, payload: handle };
  });

if (parentPort !== null) serve(parentPort, workerData as NativeOptions);

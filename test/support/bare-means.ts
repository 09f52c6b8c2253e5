import { openCheckpoint } from "../../services/shared/engine/checkpoint/open.ts";
import type { Means } from "../../services/shared/engine/forward/run.ts";
import { createWorkspace, type WorkspaceSize } from "../../services/shared/engine/forward/workspace.ts";
import { openBackend } from "../../services/shared/engine/kernels.ts";
import type { LayoutChoice } from "../../services/shared/engine/layout.ts";
import { placeModel } from "../../services/shared/engine/model.ts";

interface BareOptions extends LayoutChoice, WorkspaceSize {
  /** Absent: the best that this machine has. */
  readonly kernelPath?: string;
  readonly threads: number;
}

/** What a forward pass over the checkpoint in `folder` works with, without an engine around it. */
export function openMeans(folder: string, options: BareOptions): { readonly means: Means; readonly path: string; close(): void } {
  const model = placeModel(openCheckpoint(folder), options);
  const backend = openBackend({ path: options.kernelPath, threads: options.threads });
  const ops = backend.createStream();
  const work = createWorkspace(model.config, model.layout, model.activation, options);
  return {
    means: { model, ops, work, tap: null },
    path: backend.path,
    close() {
      for (const resource of [work, ops, model]) resource.release();
      backend.close();
    },
  };
}

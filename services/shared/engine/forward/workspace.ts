import { type Activation, bytesInLines, count, createBuffer, type Dtype, type NativeBuffer, type Tensor, tensor } from "../kernels.ts";
import type { PayloadLayout } from "../layout.ts";
import type { ModelConfig } from "../model-config.ts";

/**
 * Every intermediate tensor of a forward pass, allocated once for `rowsMax` rows and reused by all layers and calls.
 *
 * Memory: rowsMax x (sum of the regions' values x their widths) + logitRows x (n·d + 2·d in activations, 4·vocab).
 * V4-Flash in serving mode: about 268 KB a row, half of it q and o (heads · headDim each).
 */
export interface Workspace {
  /** The start of a region seen as `shape`: valid until the region is written again. */
  at(region: Region, shape: readonly number[]): Tensor;
  release(): void;
}

type Region = keyof ReturnType<typeof regions>;

export interface WorkspaceSize {
  readonly rowsMax: number;
  readonly logitRows: number;
  /**
   * Whether mtpBlock runs in it: only in the golden runner, which looks at its predictions. The engine does not use it.
   */
  readonly drafts?: boolean | undefined;
}

export function createWorkspace(config: ModelConfig, layout: PayloadLayout, activation: Activation, size: WorkspaceSize): Workspace {
  const { places, bytes } = place(config, layout, activation, size);
  const buffer: NativeBuffer = createBuffer(bytes);
  return {
    at(region, shape) {
      const { dtype, values, offset } = places.get(region)!;
      if (count(shape) > values) throw new RangeError(`${region} holds ${values} values, not [${shape}]`);
      return tensor(buffer, dtype, shape, offset);
    },
    release: () => buffer.release(),
  };
}

/** Bytes that `createWorkspace` allocates. */
export const workspaceBytes = (config: ModelConfig, layout: PayloadLayout, activation: Activation, size: WorkspaceSize): number =>
  place(config, layout, activation, size).bytes;

function place(config: ModelConfig, layout: PayloadLayout, activation: Activation, size: WorkspaceSize) {
  const table = regions(config, layout, activation, size);
  const places = new Map<Region, { readonly dtype: Dtype; readonly values: number; readonly offset: number }>();
  let bytes = 0;
  for (const [name, [dtype, perRow]] of Object.entries(table) as [Region, readonly [Dtype, number]][]) {
    const values = Math.ceil(perRow * size.rowsMax);
    places.set(name, { dtype, values, offset: bytes });
    bytes += bytesInLines(dtype, [values]);
  }
  return { places, bytes };
}

/** dtype and values per row. A = the activation type of the mode. */
function regions(c: ModelConfig, layout: PayloadLayout, A: Activation, { rowsMax, logitRows, drafts = false }: WorkspaceSize) {
  const logitShare = logitRows / rowsMax;
  const drafted = drafts ? c.hidden : 0;
  const ratios = new Set(c.ratios).size;
  const width = Math.max(2 * c.headDim, 2 * c.indexDim);
  return {
    ids: ["I32", 1],
    positions: ["I32", 1],
    tableMain: ["F32", c.rope],
    tableCompressed: ["F32", c.rope],
    windowPositions: ["I32", ratios],
    tableWindows: ["F32", ratios * c.rope],

    streams: [A, c.hcMult * c.hidden],
    x: [A, c.hidden],
    y: [A, c.hidden],
    post: ["F32", c.hcMult],
    comb: ["F32", c.hcMult ** 2],

    qr: [A, c.qLora],
    q: [A, c.heads * c.headDim],
    kv: [A, c.headDim],
    fresh: ["U8", layout.rowBytes],
    o: [A, c.heads * c.headDim],
    grouped: [A, c.oGroups * c.oLora],

    k: ["F32", width],
    z: ["F32", width],
    pooled: [A, Math.max(c.headDim, c.indexDim)],
    indexQ: [A, c.indexHeads * c.indexDim],
    indexQPacked: ["U8", c.indexHeads * layout.keyBytes],
    indexWeights: ["F32", c.indexHeads],
    selected: ["I32", c.ratios.includes(4) ? c.indexTopK : 0],

    gate: ["F32", c.experts],
    experts: ["I32", c.expertsPerToken],
    expertWeights: ["F32", c.expertsPerToken],
    routed: ["F32", c.hidden],
    shared: ["F32", c.hidden],

    nextEmbedding: [A, drafted],
    nextProjected: [A, drafted],
    streamsProjected: [A, c.hcMult * drafted],

    wanted: ["I32", logitShare],
    wantedStreams: [A, logitShare * c.hcMult * c.hidden],
    collapsed: [A, logitShare * c.hidden],
    logits: ["F32", logitShare * c.vocab],
  } satisfies Record<string, readonly [Dtype, number]>;
}

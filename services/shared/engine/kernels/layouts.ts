/** How one KV row lies in memory, in the order of ls_kv_layout in kernels.h. */
export const kvLayouts = ["e4m3_bf16", "e4m3_f32", "f32", "bf16"] as const;
export type KvLayout = (typeof kvLayouts)[number];

/** How one index key lies in memory, in the order of ls_key_layout. */
export const keyLayouts = ["fp4", "f32", "bf16"] as const;
export type KeyLayout = (typeof keyLayouts)[number];

/** Bytes of one KV row; the quantised layouts add one scale per 64 NoPE values and are padded to a multiple of 8. */
export function kvEntryBytes(layout: KvLayout, nope: number, rope: number): number {
  const padded = (bytes: number) => Math.ceil((bytes + Math.ceil(nope / 64)) / 8) * 8;
  switch (layout) {
    case "e4m3_bf16":
      return padded(nope + 2 * rope);
    case "e4m3_f32":
      return padded(nope + 4 * rope);
    case "f32":
      return 4 * (nope + rope);
    case "bf16":
      return 2 * (nope + rope);
  }
}

/** Bytes of one index key; FP4 has one scale per 32 values. */
export function keyBytes(layout: KeyLayout, dim: number): number {
  return layout === "fp4" ? dim / 2 + dim / 32 : layout === "f32" ? 4 * dim : 2 * dim;
}

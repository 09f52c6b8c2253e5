import type { ValueHead } from "../../../../services/shared/segments/contract.ts";
import type { KeySpace } from "../../../../services/shared/segments/keys.ts";
import { segmentKeys } from "../../../support/segments.ts";

/** The worked example of docs/formats.md: a model whose fingerprint is 00 01 02 .. 1f, segments of 4 tokens, ids 1 to 10. */
export const space: KeySpace = {
  fingerprint: Uint8Array.from({ length: 32 }, (_, i) => i),
  layout: "example",
  firstLayer: 0,
  layerCount: 3,
  salt: "tenant-a",
  path: null,
};
export const segmentTokens = 4;
export const ids = Int32Array.from({ length: 10 }, (_, i) => i + 1);
export const keys = segmentKeys(space, ids, segmentTokens);

/** The second segment, with the payload "ten bytes.". */
export const head: ValueHead = {
  kind: "segment",
  fingerprint: space.fingerprint,
  layout: space.layout,
  firstToken: 4,
  tokenCount: 4,
  firstLayer: space.firstLayer,
  layerCount: space.layerCount,
};
export const payload = Buffer.from("ten bytes.");

/** `0000  4c 53 4b 56 ...`, 16 bytes a line. */
export function hexDump(bytes: Uint8Array): string {
  const lines: string[] = [];
  for (let at = 0; at < bytes.length; at += 16) {
    const row = [...bytes.subarray(at, at + 16)].map((byte) => byte.toString(16).padStart(2, "0"));
    lines.push(`${at.toString(16).padStart(4, "0")}  ${row.join(" ")}`);
  }
  return lines.join("\n");
}

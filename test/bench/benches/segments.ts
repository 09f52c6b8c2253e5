import { findModelConfig } from "../../../services/cli/sizes.ts";
import { nativeSums } from "../../../services/shared/engine/kernels.ts";
import { kvSizes } from "../../../services/shared/engine/sizes.ts";
import { acceptHeader, encodeHeader, refusePayload } from "../../../services/shared/segments/format.ts";
import { zlibSums } from "../../../services/shared/segments/sums.ts";
import { sample } from "../../support/segments.ts";
import { type Bench, rateRow, type Scene, secondsOf } from "../bench.ts";
import { memcpyRate, Rotation } from "../yardsticks/memcpy.ts";

const BYTES = 2_147_483_648;

/**
 * A segment leaves a worker as header and payload, where they are; it arrives when its header was compared and its payload summed up, where it
 * is. What there is to pay for is the checksum, once on each side.
 */
export const segments: Bench = {
  name: "segments",
  about: "export, checksum and import of segments, beside memcpy",
  async run(scene) {
    const bytes = scene.tiny ? BYTES / 256 : BYTES;
    const [from, to] = [new Rotation(bytes), new Rotation(bytes)];
    for (const model of ["deploy/models/yardlog", "v4-flash"]) await ofModel(scene, model, bytes, from, to);
  },
};

async function ofModel(scene: Scene, model: string, bytes: number, from: Rotation, to: Rotation): Promise<void> {
  const { name, config } = findModelConfig(model);
  const size = kvSizes(config).segmentBytes;
  const count = Math.floor(bytes / size);
  const { key, head } = sample(name, 0);
  const sums = nativeSums() ?? zlibSums; // as in a worker
  const exported = (payload: Buffer) => encodeHeader(key, head, payload, sums);
  const imported = (header: Buffer, payload: Buffer) => {
    const accepted = acceptHeader(header, key, head);
    if (typeof accepted === "string" || refusePayload(payload.length, sums.of(payload, 0), accepted) !== null)
      throw new Error("a good segment was refused");
  };
  const rate = async (each: (payload: Buffer) => void) => {
    const seconds = await secondsOf(() => {
      for (let i = 0; i < count; i++) each(from.next(size));
    });
    return (size * count) / seconds;
  };
  const row = (what: string) => ({
    key: `segments.${what}.${name}`,
    unit: "B/s",
    name: "memcpy",
    goal: { atLeast: 0.5 },
    note: `${size} B each`,
  });
  const memcpy = () => memcpyRate(from, to, size, count);
  await rateRow(scene, row("export"), () => rate((payload) => void exported(payload)), memcpy);
  await rateRow(scene, row("there-and-back"), () => rate((payload) => imported(exported(payload), payload)), memcpy);
}

import type { Bench } from "./bench.ts";
import { control } from "./benches/control.ts";
import { decodeStart } from "./benches/decode-start.ts";
import { drafts } from "./benches/drafts.ts";
import { kernels } from "./benches/kernels.ts";
import { memory } from "./benches/memory.ts";
import { redis } from "./benches/redis.ts";
import { roofline } from "./benches/roofline.ts";
import { segments } from "./benches/segments.ts";
import { slice } from "./benches/slice.ts";
import { tokens } from "./benches/tokens.ts";
import { upload } from "./benches/upload.ts";
import { yardlog, yardlogMillion } from "./benches/yardlog.ts";

/** In the order they are run: limits first, then the parts, then the whole. */
export const benches: readonly Bench[] = [
  roofline,
  kernels,
  slice,
  segments,
  redis,
  upload,
  decodeStart,
  control,
  tokens,
  memory,
  yardlog,
  yardlogMillion,
  drafts,
];

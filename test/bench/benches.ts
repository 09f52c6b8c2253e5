import type { Bench } from "./bench.ts";
import { control } from "./benches/control.ts";
import { redis } from "./benches/redis.ts";
import { roofline } from "./benches/roofline.ts";
import { segments } from "./benches/segments.ts";

/** In the order they are run: limits first, then the parts, then the whole. */
export const benches: readonly Bench[] = [roofline, segments, redis, control];

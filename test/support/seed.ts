import { onTestFailed } from "vitest";
import { systemRandom } from "../../services/shared/runtime/random.ts";

/** What the running test draws from: SEED of the environment, or one of its own, which is told if it fails, however it does. */
export function testSeed(): number {
  const seed = Number(process.env.SEED ?? systemRandom.u32());
  onTestFailed(() => console.log(`SEED=${seed}`));
  return seed;
}

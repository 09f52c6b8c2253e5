import { onTestFailed } from "vitest";
import { systemRandom } from "../../services/shared/runtime/random.ts";

/**
 * Seed of the running test: SEED of the environment, or a random one. It is printed if the test fails, however it does.
 */
export function testSeed(): number {
  const seed = Number(process.env.SEED ?? systemRandom.u32());
  onTestFailed(() => console.log(`SEED=${seed}`));
  return seed;
}

import { defineConfig } from "vitest/config";
import ShortLast from "./test/support/order.ts";

export default defineConfig({
  test: {
    include: ["test/**/*.test.ts"],
    testTimeout: 180_000,
    hookTimeout: 180_000,
    expect: { poll: { timeout: 20_000 } },
    setupFiles: ["test/support/replay.ts"],
    pool: "forks",
    maxWorkers: 3,
    isolate: false, // a process for each file loaded what they share 185 times: 50 s on both cores
    sequence: { sequencer: ShortLast },
    reporters: ["default", "./test/support/closing-line.ts"],
  },
});

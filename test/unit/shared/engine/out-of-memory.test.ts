import { afterEach, describe, expect, test, vi } from "vitest";
import { openCheckpoint } from "../../../../services/shared/engine/checkpoint/open.ts";
import { native } from "../../../../services/shared/engine/kernels/native.ts";
import { createPage, liveHandles } from "../../../../services/shared/engine/kernels.ts";
import { payloadLayout } from "../../../../services/shared/engine/layout.ts";
import { EngineCore } from "../../../../services/shared/engine/native/core.ts";
import { createSequence, freeSequence } from "../../../../services/shared/engine/sequence.ts";
import { goldenFolder } from "../../../support/timeline.ts";

afterEach(() => vi.restoreAllMocks());

type Door = "listCreate" | "listAppend" | "bufferCreate" | "pageCreate" | "streamCreate";

/** From its call number `calls` on (0 = the first) the backend has no memory left behind this door. */
function noMemory(door: Door, calls: number): void {
  const { native: n } = native();
  const real = n[door] as (...args: unknown[]) => unknown;
  let made = 0;
  vi.spyOn(n, door).mockImplementation(((...args: unknown[]) => {
    if (made++ >= calls) throw Object.assign(new Error("out of memory"), { code: "LS_MEMORY" });
    return real(...args);
  }) as never);
}

describe("a sequence that finds no memory leaves nothing behind, and its segments to whoever gave them", () => {
  const { config } = openCheckpoint(goldenFolder("t1"));
  const layout = payloadLayout(config, { mode: "serving", segmentTokens: 128 });
  const at = { position: 2 * layout.segmentTokens + 40, first: 0, exactFrom: 0 };

  test.each<[Door, number]>([
    ["listCreate", 0],
    ["bufferCreate", 0],
    ["listAppend", 0],
    ["listAppend", 1],
    ["listAppend", 2],
    ["pageCreate", 0],
  ])("%s after %i calls", (door, calls) => {
    const before = liveHandles();
    const segments = [0, 1].map(() => createPage(layout.segmentBytes, false));
    const given = liveHandles();
    noMemory(door, calls);
    expect(() => createSequence(config, layout, segments, at)).toThrow(/out of memory/);
    expect(liveHandles()).toBe(given);
    vi.restoreAllMocks();

    freeSequence(createSequence(config, layout, segments, at));
    expect(liveHandles()).toBe(before);
  });
});

describe("an engine that finds no memory leaves nothing behind", () => {
  const options = {
    modelPath: goldenFolder("t1"),
    mode: "serving",
    threads: 1,
    segmentTokens: 128,
    chunkTokens: 64,
    batchMax: 4,
    draftMax: 0,
  } as const;

  test("for its workspace", () => {
    const before = liveHandles();
    expect(() => new EngineCore({ ...options, chunkTokens: 2 ** 40 })).toThrow(/out of memory/);
    expect(liveHandles()).toBe(before);
  });

  test("for its stream", () => {
    const before = liveHandles();
    noMemory("streamCreate", 0);
    expect(() => new EngineCore(options)).toThrow(/out of memory/);
    expect(liveHandles()).toBe(before);
  });
});

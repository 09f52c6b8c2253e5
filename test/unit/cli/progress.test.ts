import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { openProgress } from "../../../services/cli/progress.ts";

beforeEach(() => void vi.useFakeTimers({ toFake: ["performance"] }));
afterEach(() => void vi.useRealTimers());

/** Lines as they were written to a stream that is, or is not, a terminal. */
function draw(terminal: { columns: number } | null, use: (progress: ReturnType<typeof openProgress>) => void): string[] {
  const written: string[] = [];
  const out = { isTTY: terminal !== null, ...terminal, write: (text: string) => written.push(text) };
  use(openProgress("job_0123456789abcdefghij", out as unknown as NodeJS.WriteStream));
  return written;
}

test("elsewhere than on a terminal there is a line for every tenth, and the time left follows the pace since the first", () => {
  const lines = draw(null, (progress) => {
    progress.update(50, 100, "prefill"); // from the cache, in no time
    for (let done = 51; done <= 100; done++) {
      vi.advanceTimersByTime(1_000);
      progress.update(done, 100, "prefill");
    }
    progress.end();
  });
  expect(lines.map((line) => /(\d+) % {2}(?:(\d+) s left)?/.exec(line)!.slice(1, 3))).toEqual([
    ["50", undefined],
    ["60", "40"],
    ["70", "30"],
    ["80", "20"],
    ["90", "10"],
    ["100", undefined],
  ]);
});

test("what is said beside it has a line of its own, and on a terminal the state stays below", () => {
  const use = (progress: ReturnType<typeof openProgress>) => {
    vi.advanceTimersByTime(200_000);
    progress.update(1, 2, "prefill");
    progress.say("no answer");
    progress.end();
  };
  const [state] = draw({ columns: 80 }, use);
  expect(draw({ columns: 80 }, use)).toEqual([state, `\r\x1b[2Kno answer\n${state!.slice("\r\x1b[2K".length)}`, "\n"]);
  expect(draw(null, use).at(-1)).toBe("no answer\n");
});

test("on a terminal of 80 columns one line is drawn over, and does not wrap", () => {
  const drawn = draw({ columns: 80 }, (progress) => {
    progress.update(0, 9_000, "prefill");
    vi.advanceTimersByTime(200_000);
    progress.update(1, 9_000, "prefill");
    vi.advanceTimersByTime(200_000);
    progress.update(1, 1, "1000000 tokens answered");
    progress.end();
  });
  expect(drawn.at(-1)).toBe("\n");
  for (const line of drawn.slice(0, -1)) {
    expect(line.startsWith("\r\x1b[2K")).toBe(true);
    expect(line.slice("\r\x1b[2K".length).length).toBeLessThan(80);
  }
});

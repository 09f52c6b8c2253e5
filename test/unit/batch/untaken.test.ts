import { pino } from "pino";
import { expect, test } from "vitest";
import { Untaken } from "../../../services/batch/untaken.ts";
import { VirtualClock } from "../../support/virtual-clock.ts";

/** What is logged, with its second by the clock. */
function untakenOn(clock: VirtualClock) {
  const lines: (readonly unknown[])[] = [];
  const write = (line: string) => {
    const { msg, lastsMs, tries, givenUp } = JSON.parse(line) as Record<string, unknown>;
    lines.push([clock.monotonicMs() / 1_000, msg, lastsMs, tries, givenUp]);
  };
  return { untaken: new Untaken(pino({ base: null }, { write }), clock), lines };
}

test("that nobody takes webhooks is told when it begins, once a minute with how many tries it were, and when it is over", () => {
  const clock = new VirtualClock();
  return clock.run(
    (async () => {
      const { untaken, lines } = untakenOn(clock);
      untaken.worked();
      for (let second = 0; second < 130; second++) {
        for (let end = 0; end < 3; end++) untaken.failed("status 500", end === 0);
        await clock.sleep(1_000);
      }
      for (let end = 0; end < 3; end++) untaken.worked();
      expect(lines).toEqual([
        [0, "webhooks are not taken: status 500", 0, 1, 1],
        [60, "webhooks are not taken: status 500", 60_000, 180, 60],
        [120, "webhooks are not taken: status 500", 120_000, 180, 60],
        [130, "webhooks are taken again", 130_000, 29, 9],
      ]);
    })(),
  );
});

test("a receiver that takes some and refuses others is told of no more often", () => {
  const clock = new VirtualClock();
  return clock.run(
    (async () => {
      const { untaken, lines } = untakenOn(clock);
      for (let second = 0; second < 125; second++) {
        untaken.failed("status 400", false);
        untaken.worked();
        await clock.sleep(1_000);
      }
      expect(lines.map(([second, said]) => [second, said])).toEqual(
        [0, 60, 120].flatMap((second) => [
          [second, "webhooks are not taken: status 400"],
          [second, "webhooks are taken again"],
        ]),
      );
    })(),
  );
});

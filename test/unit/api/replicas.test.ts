import { expect, test } from "vitest";
import { Replicas } from "../../../services/api/replicas.ts";
import { openBus } from "../../../services/shared/bus/open.ts";
import { overriding } from "../../support/overriding.ts";
import { VirtualClock } from "../../support/virtual-clock.ts";

const BEAT_MS = 1_000;

/** How long it takes to say whether "other" is gone, where its beats are those of `seen` (ms since it was asked), and how often anybody looked. */
function asked(seen: (ms: number) => string | undefined, times = 1) {
  const clock = new VirtualClock();
  const startMs = clock.monotonicMs();
  let looks = 0;
  const bus = openBus({ url: "memory:" });
  const beats = async () => {
    looks++;
    const beat = seen(clock.monotonicMs() - startMs);
    return new Map(beat === undefined ? [] : [["other", beat]]);
  };
  const replicas = new Replicas({
    bus: { ...bus, registry: overriding(bus.registry, { beats }) },
    clock,
    beatMs: BEAT_MS,
    replica: "here",
  });
  const all = Promise.all(Array.from({ length: times }, () => replicas.isGone("other")));
  return clock.run(all.then((gone) => ({ gone: [...new Set(gone)], ms: clock.monotonicMs() - startMs, looks })));
}
const beating = (ms: number) => String(Math.floor((ms + 300) / BEAT_MS));

test.each<[string, (ms: number) => string | undefined, boolean, number]>([
  ["beats lives: that is known with its next beat", beating, false, BEAT_MS],
  ["says that it is gone is gone", () => "gone", true, 0],
  ["is not seen is gone after two beats", () => undefined, true, 2 * BEAT_MS],
  ["was forgotten by a server that was started again lives", (ms) => (ms < 700 ? undefined : beating(ms)), false, BEAT_MS],
  ["was killed is gone two beats after its last one ended", (ms) => (ms < 4_000 ? "7" : undefined), true, 6_000],
  ["stands there for ever lives, as far as anybody can tell", () => "7", false, 10_500],
  ["is of a version that does not count its beats lives", () => "", false, 0],
])("a replica that %s", async (_, seen, gone, atMostMs) => {
  const answer = await asked(seen);
  expect(answer.gone).toEqual([gone]);
  expect(answer.ms).toBeLessThanOrEqual(atMostMs);
  if (gone) expect(answer.ms).toBeGreaterThan(atMostMs - BEAT_MS);
});

test("all who ask at once look together", async () => {
  expect(await asked(beating, 1_000)).toMatchObject({ gone: [false], looks: expect.toSatisfy((looks: number) => looks <= 4) });
});

test("one that stops leaves behind that it is gone", async () => {
  const clock = new VirtualClock();
  const bus = openBus({ url: "memory:", clock });
  const stop = new AbortController();
  const of = (replica: string) => new Replicas({ bus, clock, beatMs: BEAT_MS, replica });
  const life = of("other").show(stop.signal);
  await clock.run(
    (async () => {
      expect(await of("here").isGone("other")).toBe(false);
      stop.abort(new Error("stopping"));
      await life;
      const toldMs = clock.monotonicMs();
      expect([await of("here").isGone("other"), clock.monotonicMs() - toldMs]).toEqual([true, 0]);
    })(),
  );
});

import { beforeEach, expect, test } from "vitest";
import { Readers } from "../../../services/api/jobs/readers.ts";
import type { Bus } from "../../../services/shared/bus/contract.ts";
import { openBus } from "../../../services/shared/bus/open.ts";
import { ServingError } from "../../../services/shared/runtime/errors.ts";
import { never, request } from "../../support/bus.ts";
import { VirtualClock } from "../../support/virtual-clock.ts";

const GRACE_MS = 100;
const owned = { owned: true, detached: false };
const resumed = { owned: false, detached: false };
let clock: VirtualClock;
let bus: Bus;
let here: Readers;
let there: Readers;

beforeEach(async () => {
  clock = new VirtualClock();
  bus = openBus({ url: "memory:", clock });
  const open = (replica: string) => new Readers({ bus, clock, graceMs: GRACE_MS, beatMs: 20, replica });
  [here, there] = [open("here"), open("there")];
  await bus.log.submit("job", request());
  return () => {
    here.close();
    there.close();
  };
});

const ending = () =>
  clock.run(
    (async () => {
      const types: string[] = [];
      for await (const { event } of bus.log.follow("job", 0, never)) types.push(event.type);
      return types.at(-1);
    })(),
  );
const still = async (ms: number) => {
  await clock.run(clock.sleep(ms));
  return (await bus.log.last("job"))?.event.type;
};

test("a reader who came back and left again begins a whole grace of his own", async () => {
  here.enter("job", owned)(false);
  await clock.run(clock.sleep(0.7 * GRACE_MS));
  const leftMs = clock.monotonicMs();
  here.enter("job", resumed)(false);
  expect(await ending()).toBe("cancelled");
  expect(clock.monotonicMs() - leftMs).toBeGreaterThanOrEqual(GRACE_MS);
});

test("the job ends too when the last to leave was not the one who asked for it", async () => {
  const asker = here.enter("job", owned);
  const other = here.enter("job", resumed);
  asker(false);
  expect(await still(2 * GRACE_MS)).toBe("submitted");
  other(false);
  expect(await ending()).toBe("cancelled");
});

test("a reader on another replica keeps the job; when he leaves, it ends", async () => {
  const away = there.enter("job", resumed);
  here.enter("job", owned)(false);
  expect(await still(3 * GRACE_MS)).toBe("submitted");
  away(false);
  expect(await ending()).toBe("cancelled");
});

test("nothing is asked of the record for a reader who saw the end, nor for a detached job", async () => {
  here.enter("job", owned)(true);
  here.enter("job", { owned: true, detached: true })(false);
  expect(await still(3 * GRACE_MS)).toBe("submitted");
});

test("a reader elsewhere counts also where the record was away, and where its restart forgot him", async () => {
  const { registry } = bus;
  const { beat, beats } = { beat: registry.beat.bind(registry), beats: registry.beats.bind(registry) };
  registry.beat = async () => {
    registry.beat = beat;
    throw new ServingError("UNAVAILABLE", "NATS does not answer");
  };
  registry.beats = async () => {
    registry.beats = beats;
    return new Map();
  };
  const away = there.enter("job", resumed);
  here.enter("job", owned)(false);
  expect(await still(3 * GRACE_MS)).toBe("submitted");
  away(false);
  expect(await ending()).toBe("cancelled");
});

test("a grace that ends while the record is away is made up for: the job is cancelled and nothing is left of its readers", async () => {
  const { registry } = bus;
  const beats = registry.beats.bind(registry);
  let asked = 0;
  registry.beats = (role) => (++asked <= 3 ? Promise.reject(new ServingError("UNAVAILABLE", "NATS does not answer")) : beats(role));
  here.enter("job", owned)(false);
  expect(await ending()).toBe("cancelled");
  expect([asked > 3, here.count]).toEqual([true, 0]);
  await clock.run(clock.sleep(20));
  expect(await beats("left.job")).toEqual(new Map());
});

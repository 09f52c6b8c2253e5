import { expect, test } from "vitest";
import { cancelBatch, createBatch, deleteBatch, newBatch } from "../../../services/api/files/batches.ts";
import { HeldBatch, HoldLost } from "../../../services/batch/held-batch.ts";
import type { Bus, Documents } from "../../../services/shared/bus/contract.ts";
import { openBus } from "../../../services/shared/bus/open.ts";
import { systemClock } from "../../../services/shared/runtime/clock.ts";
import { ServingError } from "../../../services/shared/runtime/errors.ts";
import { never } from "../../support/bus.ts";
import { overriding } from "../../support/overriding.ts";
import { VirtualClock } from "../../support/virtual-clock.ts";

const id = "batch_00000000000000000000";
const asked = {
  input_file_id: "file-1",
  endpoint: "/v1/completions",
  completion_window: "24h",
  metadata: undefined,
  output_expires_after: undefined,
} as const;

async function begun(): Promise<Bus> {
  const bus = openBus({ url: "memory:" });
  await bus.documents.put("batch", "t", id, JSON.stringify(newBatch(id, "t", asked, 0)), 0);
  return bus;
}
const holding = (bus: Bus) => ({ bus, clock: systemClock, config: { claimMs: 1_000 } });
const claim = async (bus: Bus, name: string, on: Bus = bus) =>
  HeldBatch.claim(holding(on), (await bus.documents.get("batch", "t", id))!, name, never);
const placeIn = async (bus: Bus) => (await bus.documents.get("batch", "t", id))!.place;
const batchIn = async (bus: Bus) => JSON.parse((await bus.documents.get("batch", "t", id))!.text) as HeldBatch["batch"];

test("of those who claim a batch at once one has it, and loses it to whoever claims it after him", async () => {
  const bus = await begun();
  const document = (await bus.documents.get("batch", "t", id))!;
  const claims = await Promise.all(["a", "b", "c"].map((name) => HeldBatch.claim(holding(bus), document, name, never)));
  const winners = claims.filter((held) => held !== null);
  expect(winners).toHaveLength(1);
  await winners[0]!.write({ total: 5 });
  const next = (await claim(bus, "d"))!;
  expect(next.batch).toMatchObject({ holder: "d", epoch: 2, attempt: 2, total: 5 });
  await expect(winners[0]!.write({ total: 6 })).rejects.toBeInstanceOf(HoldLost);
  await next.write({ total: 7 });
  expect(await batchIn(bus)).toMatchObject({ holder: "d", total: 7 });
});

test("a cancel that comes between two writes is kept, and so is what the holder writes", async () => {
  const bus = await begun();
  const held = (await claim(bus, "a"))!;
  const { cancellingAt } = await cancelBatch(bus, "t", id);
  await held.write({ total: 3 });
  expect(held.batch.cancellingAt).toBe(cancellingAt);
  expect(await batchIn(bus)).toMatchObject({ total: 3, cancellingAt, holder: "a" });
});

test("who stood still while the batch was deleted, made again under its key and claimed by another takes nothing of that one", async () => {
  const bus = await begun();
  const still = (await claim(bus, "a"))!;
  await cancelBatch(bus, "t", id);
  const ending = (await claim(bus, "b"))!;
  await ending.write({ status: "cancelled", holder: null });
  await deleteBatch(bus, "t", id);
  await createBatch(bus, newBatch(id, "t", { ...asked, input_file_id: "file-2" }, 0));
  const next = (await claim(bus, "c"))!;
  expect(next.batch.epoch).toBe(still.batch.epoch);
  await expect(still.write({ total: 6 })).rejects.toBeInstanceOf(HoldLost);
  await next.write({ holder: null }); // and none of one that waits to be claimed again
  await expect(still.write({ total: 6 })).rejects.toBeInstanceOf(HoldLost);
  expect(await batchIn(bus)).toMatchObject({ inputFileId: "file-2", total: 0, holder: null });
});

test("a holder whose letting go was stored without an answer knows it for its own", async () => {
  const bus = await begun();
  const held = (await claim(
    bus,
    "a",
    rough(bus, (put) => (put === 2 ? "after" : "none")),
  ))!;
  await held.write({ holder: null });
  expect([(await batchIn(bus)).turn, await placeIn(bus)]).toEqual([2, 3]);
});

/** Documents of a record that now and then is away: before a write, or with its answer. */
function rough(bus: Bus, trouble: (put: number) => "none" | "before" | "after"): Bus {
  let puts = 0;
  const documents: Documents = overriding(bus.documents, {
    put: async (...args: Parameters<Documents["put"]>) => {
      const kind = trouble(++puts);
      const place = kind === "before" ? null : await bus.documents.put(...args);
      if (kind === "none") return place;
      throw new ServingError("UNAVAILABLE", "the record is away");
    },
  });
  return { ...bus, documents };
}

test.each(["before", "after"] as const)("a write without an answer, %s it was stored, is written once", async (when) => {
  const bus = await begun();
  const held = (await claim(
    bus,
    "a",
    rough(bus, (put) => (put === 2 || put === 3 ? when : "none")),
  ))!;
  await held.write({ total: 1 });
  const { turn } = await batchIn(bus);
  expect([turn, await placeIn(bus)]).toEqual([2, 3]); // behind the batch and the claim
  await held.write({ total: 2 });
  expect(await batchIn(bus)).toMatchObject({ total: 2, turn: 3 });
});

test("a write whose answer was lost, and another's cancel behind it: both are there, nothing is written twice", async () => {
  const bus = await begun();
  const onRecord = rough(bus, (put) => (put === 2 ? "after" : "none"));
  const held = (await claim(bus, "a", {
    ...onRecord,
    documents: overriding(onRecord.documents, {
      put: async (...args: Parameters<Documents["put"]>) =>
        onRecord.documents.put(...args).catch(async (error: unknown) => {
          await cancelBatch(bus, "t", id);
          throw error;
        }),
    }),
  }))!;
  await held.write({ total: 9 });
  expect(held.batch.cancellingAt).not.toBeNull();
  expect(await batchIn(bus)).toMatchObject({ total: 9, turn: 2 });
  expect(await placeIn(bus)).toBe(4); // the cancel
});

test("a holder who has nothing to write shows eight times in the life of a claim that it is there", async () => {
  const bus = await begun();
  const clock = new VirtualClock();
  const held = (await HeldBatch.claim({ ...holding(bus), clock }, (await bus.documents.get("batch", "t", id))!, "a", never))!;
  const turnAfter = async (ms: number) => {
    await clock.run(clock.sleep(ms));
    await held.beat();
    return (await batchIn(bus)).turn;
  };
  expect([await turnAfter(124), await turnAfter(1), await turnAfter(124), await turnAfter(1)]).toEqual([1, 2, 2, 3]);
});

test("who finds an earlier turn of his own, in a record that was restored, has lost the batch: what he knows of it is not in there", async () => {
  const bus = await begun();
  const held = (await claim(bus, "a"))!;
  const backup = (await bus.documents.get("batch", "t", id))!;
  await held.write({ total: 5, done: "all" });
  await bus.documents.put("batch", "t", id, backup.text, await placeIn(bus));
  await expect(held.write({})).rejects.toBeInstanceOf(HoldLost);
  expect(await batchIn(bus)).toMatchObject({ total: 0, done: "", turn: 1 });
});

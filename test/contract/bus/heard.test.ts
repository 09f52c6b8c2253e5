import { expect, test } from "vitest";
import { UntoldEnds } from "../../../services/batch/untold-ends.ts";
import { ownServer } from "../../support/own-server.ts";

const own = ownServer();

test.each([1, 5])("what is written behind a bucket that begins anew is heard, however little: %d of three", async (count) => {
  const bus = await own.ready();
  const ends = new UntoldEnds("event", { bus, readable: (_, document, read) => read(document) });
  const end = (id: string) => JSON.stringify({ type: "job.finished", id, endedAt: 1, webhook: { tries: 0, nextAt: 0 } });
  const put = (id: string) => bus.documents.put("event", "t", id, end(id), 0);
  const heard = async () => {
    await ends.recheck(false);
    await ends.hear(new AbortController().signal);
    ends.wake(Date.now());
    return Array.from({ length: 9 }, () => ends.take()?.id).filter((id) => id !== undefined);
  };
  for (const id of ["a", "b", "c"]) await put(id);
  expect(await heard()).toEqual(["a", "b", "c"]);
  await own.server.wipe();
  await own.server.restart();
  await expect.poll(() => bus.documents.interruptions(), { timeout: 60_000 }).toBe(2);
  const ids = Array.from({ length: count }, (_, i) => `new_${i}`);
  for (const id of ids) await put(id);
  expect(await heard()).toEqual(ids);
  expect(await heard(), "once").toEqual([]);
});

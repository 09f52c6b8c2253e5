import type { Msg } from "nats";
import { expect, test } from "vitest";
import type { Connection } from "../../../../services/shared/bus/nats/connection.ts";
import { Stream } from "../../../../services/shared/bus/nats/stream.ts";
import { seededRandom } from "../../../../services/shared/runtime/random.ts";
import { never } from "../../../support/bus.ts";
import { VirtualClock } from "../../../support/virtual-clock.ts";

test("a page of which the server sent a part before the connection broke is no page", async () => {
  const clock = new VirtualClock();
  let reader = (_: Msg) => {};
  let broken = () => {};
  let asked = 0;
  const connection = {
    closing: never,
    request: async () => ({ data: Buffer.from(JSON.stringify({ name: "reader", num_pending: 2 })) }),
    subscribe: (_: string, callback: (message: Msg) => void) => {
      reader = callback;
      return () => {};
    },
    onInterruption: (callback: () => void) => {
      broken = callback;
      return () => {};
    },
    publish: (subject: string) => {
      if (!subject.includes("MSG.NEXT")) return;
      asked++;
      reader({ subject: "s", data: Buffer.from("1"), reply: "$JS.ACK.stream.reader.1.1.1.1.1" } as unknown as Msg);
      queueMicrotask(broken);
    },
  };
  const patience = { clock, random: seededRandom(1), tryMs: 1_000, answerMs: 5_000 };
  const stream = new Stream("stream", connection as unknown as Connection, patience);
  await expect(clock.run(stream.page("s", 0, 10))).rejects.toMatchObject({ code: "UNAVAILABLE" });
  expect(asked).toBeGreaterThan(1);
});

import type { Msg } from "nats";
import { expect, test } from "vitest";
import type { Connection, Interruption } from "../../../../services/shared/bus/nats/connection.ts";
import { Stream } from "../../../../services/shared/bus/nats/stream.ts";
import type { Clock } from "../../../../services/shared/runtime/clock.ts";
import { seededRandom } from "../../../../services/shared/runtime/random.ts";
import { never } from "../../../support/bus.ts";
import { VirtualClock } from "../../../support/virtual-clock.ts";

/** A stream of two messages, of which the server sends one, and `then` happens. */
function halfAnswering(then: (connection: { clock: Clock; interrupt(what: Interruption): void; send(): void }) => void) {
  const clock = new VirtualClock();
  let reader = (_: Msg) => {};
  let interrupt = (_: Interruption) => {};
  let asked = 0;
  const send = () => reader({ subject: "s", data: Buffer.from("1"), reply: "$JS.ACK.stream.reader.1.1.1.1.1" } as unknown as Msg);
  const connection = {
    closing: never,
    request: async () => ({ data: Buffer.from(JSON.stringify({ name: "reader", num_pending: 2 })) }),
    subscribe: (_: string, callback: (message: Msg) => void) => {
      reader = callback;
      return () => {};
    },
    onInterruption: (callback: typeof interrupt) => {
      interrupt = callback;
      return () => {};
    },
    publish: (subject: string) => {
      if (!subject.includes("MSG.NEXT")) return;
      asked++;
      send();
      queueMicrotask(() => then({ clock, interrupt: (what) => interrupt(what), send }));
    },
  };
  const patience = { clock, random: seededRandom(1), tryMs: 1_000, answerMs: 5_000 };
  const stream = new Stream("stream", connection as unknown as Connection, patience);
  return { page: () => clock.run(stream.page("s", 0, 10)), asked: () => asked };
}

test("a page of which the server sent a part before the connection broke is no page", async () => {
  const { page, asked } = halfAnswering(({ interrupt }) => interrupt("broke"));
  await expect(page()).rejects.toMatchObject({ code: "UNAVAILABLE" });
  expect(asked()).toBeGreaterThan(1);
});

test("a read that began before the server was prepared again goes on", async () => {
  const { page, asked } = halfAnswering(({ clock, interrupt, send }) => {
    interrupt("back");
    clock.after(500, send);
  });
  expect(await page()).toHaveLength(2);
  expect(asked()).toBe(1);
});

import type { Msg } from "nats";
import { expect, test } from "vitest";
import { Requests } from "../../../../services/shared/bus/nats/requests.ts";
import { VirtualClock } from "../../../support/virtual-clock.ts";

const TRY_MS = 100;
const answerTo = (subject: string, code?: number) =>
  ({ subject, data: new Uint8Array(code === undefined ? 1 : 0), ...(code !== undefined && { headers: { code } }) }) as Msg;

/** Requests, and the subjects that their answers go to. */
function open() {
  const clock = new VirtualClock();
  const requests = new Requests(clock, TRY_MS);
  const replies: string[] = [];
  const ask = () => requests.ask("s", (reply) => void replies.push(reply));
  return { clock, requests, replies, ask };
}

test("each request gets its own answer, whatever order they come in, and late ones nobody", async () => {
  const { requests, replies, ask } = open();
  const asked = [ask(), ask(), ask()];
  expect(replies.every((reply) => reply.startsWith(`${requests.inbox}.`))).toBe(true);
  for (const reply of [...replies].reverse()) requests.answered(answerTo(reply));
  expect((await Promise.all(asked)).map(({ subject }) => subject)).toEqual(replies);
  for (const reply of replies) requests.answered(answerTo(reply));
});

test("each request ends at its own deadline, one that was answered does not", async () => {
  const { clock, requests, replies, ask } = open();
  const ends: string[] = [];
  const noted = (name: string, asked: Promise<unknown>) =>
    asked.then(
      () => ends.push(`${name} answered`),
      (cause: Error) => ends.push(`${name} ${cause.message} at ${clock.monotonicMs()}`),
    );
  const first = noted("first", ask());
  await clock.run(clock.sleep(30));
  const second = noted("second", ask());
  const third = noted("third", ask());
  requests.answered(answerTo(replies[1]!));
  await clock.run(Promise.all([first, second, third]));
  expect(ends).toEqual(["second answered", `first no answer in time at ${TRY_MS}`, `third no answer in time at ${TRY_MS + 30}`]);
  await clock.run(noted("fourth", ask()));
  expect(ends.at(-1)).toBe(`fourth no answer in time at ${2 * TRY_MS + 30}`);
});

test("what nobody listens to, what cannot be sent, and what a broken connection takes along is an error at once", async () => {
  const { requests, replies, ask } = open();
  const unheard = ask();
  requests.answered(answerTo(replies[0]!, 503));
  await expect(unheard).rejects.toThrow("nobody answers there");
  await expect(requests.ask("s", (_, failed) => failed(new Error("too large")))).rejects.toThrow("too large");
  const [one, other] = [ask(), ask()];
  requests.fail(new Error("the connection broke"));
  await expect(one).rejects.toThrow("the connection broke");
  await expect(other).rejects.toThrow("the connection broke");
});

test("what may not be asked is an error at once, and nobody else's", async () => {
  const { requests, replies, ask } = open();
  const asked = ask();
  const forbidden = requests.ask("forbidden", () => {});
  requests.refuse("forbidden", new Error("may not"));
  await expect(forbidden).rejects.toThrow("may not");
  requests.answered(answerTo(replies[0]!));
  expect((await asked).subject).toBe(replies[0]);
});

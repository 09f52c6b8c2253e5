import type { Client } from "../client.ts";
import { jobAnswer } from "../job-answer.ts";
import { jobEvents } from "../job-events.ts";

/** An answer and what it took. */
export interface Answered {
  readonly answer: string;
  readonly promptTokens: number;
  /** Found in the store. */
  readonly cachedTokens: number;
  /** Of these, fed once more to rebuild windows that no boundary held. */
  readonly replayedTokens: number;
  readonly answerTokens: number;
  /** From submission to hand-over, and from there to the end. */
  readonly prefillMs: number;
  readonly decodeMs: number;
}

/** Submits one greedy question as a job and follows it to its end. */
export async function ask(
  client: Client,
  { model, content }: { readonly model: string; readonly content: string },
  onPrefill: (done: number, total: number) => void,
): Promise<Answered> {
  const request = { model, messages: [{ role: "user", content }], max_tokens: 64, temperature: 0 };
  const startMs = performance.now();
  const { id } = (await client.post("/v1/jobs", { kind: "chat", request })) as { id: string };
  let handedOverMs = startMs;
  let replayedTokens = 0;
  for await (const { name, done = 0, total = 0, recomputed = 0 } of jobEvents(client, id)) {
    if (name === "progress") onPrefill(done, total);
    if (name !== "handed_over") continue;
    handedOverMs = performance.now();
    replayedTokens = recomputed;
    onPrefill(1, 1);
  }
  const endMs = performance.now();
  const { text, ...tokens } = await jobAnswer(client, id);
  return {
    answer: text,
    ...tokens,
    replayedTokens,
    prefillMs: handedOverMs - startMs,
    decodeMs: endMs - handedOverMs,
  };
}

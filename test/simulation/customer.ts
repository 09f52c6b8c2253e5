import { answerSoFar } from "../../services/api/answer/follow.ts";
import type { Submission } from "../../services/api/submit.ts";
import { isTerminal, type JobRequest, type LogRecord } from "../../services/shared/bus/events.ts";
import { ServingError } from "../../services/shared/runtime/errors.ts";
import type { Dice } from "../support/dice.ts";
import { EOS, letter, promptIds, engineOptions as usual } from "../support/model.ts";
import { type Replica, type Replicas, tokenizer } from "./replica.ts";
import type { World } from "./world.ts";

const view = { surface: "completion", created: 0, thinking: false, tools: false, release: "0731" } as const;

/** The context has room for prompts that do not travel in their event. */
export const engineOptions = { ...usual, contextTokens: 17_000 };

/** Longer than any run. */
const LONG_MS = 3_600_000;

export interface Order {
  readonly key: string;
  readonly atMs: number;
  readonly ids: Int32Array;
  readonly tenant: string;
  /** Asking again for it gives the same job. */
  readonly keyed: boolean;
  /**
   * Tokens that another prompt of its tenant may share with it; all of them without a key, since a retry may be another
   * job.
   */
  readonly sharedTokens: number;
  readonly request: Omit<JobRequest, "prompt" | "promptTokens" | "tenant" | "deadlineMs">;
  readonly deadlineMs: number;
  readonly cancelAfterMs: number | null;
  readonly readers: readonly { readonly afterMs: number; readonly pauseMs: number; readonly kind: "records" | "text" }[];
}

/** The key of the order that a job came from. */
export function orderOf([first]: readonly LogRecord[]): string {
  const { request } = first!.event as { request: JobRequest };
  return (JSON.parse(request.view) as { order: string }).order;
}

/** A few prompts share a beginning, as those of one chat or one document do. */
export function ordersOf(dice: Dice, stormMs: number): Order[] {
  const salt = dice.whole(1, 490);
  const salts = [salt, salt + 1];
  const tenants = dice.pick([["t"], ["t", "u"]]);
  const salted: { readonly salt: number; readonly length: number; readonly tenant: string }[] = [];
  for (let n = dice.whole(1, 5); n > 0; n--) {
    const again = salted.length > 0 && dice.chance(0.2); // several answers to one prompt
    const prompt = again ? dice.pick(salted) : { salt: dice.pick(salts), length: lengthOf(dice) };
    salted.push({ ...prompt, tenant: dice.pick(tenants) });
  }
  return salted.map(({ salt, length, tenant }, n): Order => {
    const sharers = salted.filter((other, m) => m !== n && other.salt === salt && other.tenant === tenant);
    const keyed = dice.chance(0.8);
    const stop = dice.chance(0.2) ? [letter(dice.whole(2, 499))] : [];
    return {
      key: `order-${n}`,
      atMs: dice.upTo(stormMs / 2),
      ids: promptIds(length, salt),
      tenant,
      keyed,
      sharedTokens: Math.max(keyed ? 0 : length, ...sharers.map((other) => Math.min(length, other.length))),
      request: {
        model: "m",
        lane: dice.pick(["interactive", "batch"]),
        maxTokens: dice.size(1, 80),
        sampling: samplingOf(dice),
        stop,
        stopIds: dice.chance(0.7) ? [EOS] : [],
        ...(dice.chance(0.2) && {
          constraint: { schema: "x".repeat(dice.whole(1, 9)), ...(dice.chance(0.3) && { after: dice.whole(2, 499) }) },
        }),
        detached: true,
        view: JSON.stringify({ ...view, order: `order-${n}` }),
      },
      deadlineMs: dice.chance(0.1) ? dice.size(500, 30_000) : LONG_MS,
      cancelAfterMs: dice.chance(0.1) ? dice.size(1, 20_000) : null,
      readers: Array.from({ length: dice.whole(0, 3) }, () => ({
        afterMs: dice.size(1, 20_000),
        pauseMs: dice.chance(0.3) ? dice.size(1, 500) : 0,
        kind: dice.pick(["records", "text"] as const),
      })),
    };
  });
}

/** Most are short. The longest end at the end of the context, and their ids lie beside the log. */
function lengthOf(dice: Dice): number {
  if (dice.chance(0.01)) return dice.whole(16_385, 16_999);
  return dice.chance(0.05) ? dice.size(700, 4_000) : dice.size(20, 700);
}

const samplingOf = (dice: Dice): JobRequest["sampling"] => ({
  ...{ temperature: dice.whole(0, 1), topP: 1, topK: dice.pick([0, 0, 3]), minP: 0, seed: BigInt(dice.whole(0, 3)) },
  ...(dice.chance(0.2) && { presencePenalty: dice.whole(-1, 1), frequencyPenalty: 0.5 }),
  ...(dice.chance(0.1) && { bias: { ids: [5, 7], values: [3, -100] } }),
  ...(dice.chance(0.2) && { topLogprobs: dice.whole(0, 3) }),
});

/** Places one order and stays with it to its end. */
export class Customer {
  readonly order: Order;
  /** Null until the order was answered with success. */
  jobId: string | null = null;
  cancelled = false;
  readonly #world: World;
  readonly #replicas: Replicas;

  constructor(world: World, replicas: Replicas, order: Order) {
    this.#world = world;
    this.#replicas = replicas;
    this.order = order;
  }

  async live(): Promise<void> {
    const { clock, judge } = this.#world;
    await clock.sleep(this.order.atMs);
    const jobId = await this.#untilAnswered((replica) => replica.submit((nowMs) => this.#submission(nowMs)));
    if (jobId === null) return;
    this.jobId = jobId;
    this.#world.note("customer", `${this.order.key} is ${jobId}`);
    if (judge.log(jobId).length === 0) judge.fault(`${jobId} was answered with success and is not in the record`);
    await Promise.all([judge.ended(jobId), this.#cancel(jobId), ...this.order.readers.map((reader) => this.#read(jobId, reader))]);
  }

  async #cancel(jobId: string): Promise<void> {
    const { cancelAfterMs } = this.order;
    if (cancelAfterMs === null) return;
    await this.#world.clock.sleep(cancelAfterMs);
    this.cancelled = true;
    await this.#untilAnswered((replica) => replica.cancel(jobId));
  }

  async #read(jobId: string, { afterMs, pauseMs, kind }: Order["readers"][number]): Promise<void> {
    await this.#world.clock.sleep(afterMs);
    if (kind === "records") await this.#readRecords(jobId, pauseMs);
    else await this.#readText(jobId);
  }

  async #readRecords(jobId: string, pauseMs: number): Promise<void> {
    const seen: LogRecord[] = [];
    const receive = (record: LogRecord) => void seen.push(record);
    const ended = () => seen.length > 0 && isTerminal(seen.at(-1)!.event);
    await this.#untilEnded(ended, (replica) => replica.records(jobId, seen.at(-1)?.sequence ?? 0, pauseMs, receive));
    const log = this.#world.judge.log(jobId);
    if (!sameSequences(seen, log)) this.#world.judge.fault(`${jobId}: a reader saw ${sequences(seen)}, the log has ${sequences(log)}`);
    else if (seen.some((record, i) => JSON.stringify(record.event, plain) !== JSON.stringify(log[i]!.event, plain)))
      this.#world.judge.fault(`${jobId}: a reader saw other events than the log has`);
  }

  async #readText(jobId: string): Promise<void> {
    let text = "";
    let after = 0;
    let end: string | null = null;
    const receive = (sequence: number, more: string, ending: string | null) => {
      text += more;
      after = sequence;
      end = ending;
    };
    await this.#untilEnded(
      () => end !== null,
      (replica) => replica.text(jobId, after, receive),
    );
    const log = this.#world.judge.log(jobId);
    const { request } = log[0]!.event as { request: JobRequest };
    const { deltas } = answerSoFar(tokenizer, request, view, log);
    const expected = deltas.map((delta) => ("text" in delta ? delta.text : "")).join("");
    if (text !== expected) this.#world.judge.fault(`${jobId}: a reader saw "${text}", the log says "${expected}"`);
  }

  /** Null if the answer is that there is no room. */
  async #untilAnswered<T>(ask: (replica: Replica) => Promise<T>): Promise<T | null> {
    for (;;) {
      try {
        return await ask(this.#replicas.any());
      } catch (thrown) {
        if (thrown instanceof ServingError && thrown.code === "OVERLOADED") return null;
        this.#world.note("customer", `${this.order.key} tries again: ${thrown}`);
        await this.#world.clock.sleep(this.#world.dice.size(10, 2_000));
      }
    }
  }

  async #untilEnded(ended: () => boolean, read: (replica: Replica) => Promise<void>): Promise<void> {
    while (!ended()) {
      await read(this.#replicas.any()).catch(() => {});
      if (!ended()) await this.#world.clock.sleep(this.#world.dice.size(10, 2_000));
    }
  }

  #submission(nowMs: number): Submission {
    const { key, tenant, keyed, ids, request, deadlineMs } = this.order;
    const idempotencyKey = keyed ? key : null;
    return { tenant, request: { ...request, deadlineMs: nowMs + deadlineMs }, ids, idempotencyKey, bodyHash: key };
  }
}

const sequences = (records: readonly LogRecord[]): string => records.map(({ sequence }) => sequence).join(" ");
const sameSequences = (a: readonly LogRecord[], b: readonly LogRecord[]): boolean => sequences(a) === sequences(b);
const plain = (_: string, value: unknown) => (typeof value === "bigint" ? `${value}` : value);

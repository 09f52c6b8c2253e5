import { toldOf } from "../shared/bus/away.ts";
import type { Reach } from "../shared/bus/reach.ts";
import { ServingError } from "../shared/runtime/errors.ts";
import { linked, onAbort } from "../shared/runtime/pause.ts";
import type { BatchDeps } from "./lines-run.ts";
import { ReceiverWindow } from "./receiver-window.ts";
import { tellEnd } from "./tell-end.ts";
import { Untaken } from "./untaken.ts";
import { KINDS, keyOf, type Untold, UntoldEnds } from "./untold-ends.ts";

/** The part of `drainMs` that receivers have to answer; the rest is for writing their answers to the record. */
const LAST_ANSWERS = 0.25;
/**
 * The least time an end keeps its place in the window: a receiver that answers or refuses at once makes no more work
 * than one that takes a second.
 */
const PLACE_MS = 1_000;

type WebhookDeps = Pick<BatchDeps, "bus" | "clock" | "config" | "log" | "readable">;

/**
 * Tells the untold ends of batches and jobs, a bounded number at once. Runs beside the work on batches: no batch waits
 * for a receiver, or for ends to be read.
 */
export class Webhooks {
  readonly #deps: WebhookDeps;
  readonly #ends: readonly UntoldEnds[];
  readonly #window = new ReceiverWindow();
  readonly #telling = new Map<string, Promise<void>>();
  readonly #cut = new AbortController();
  readonly #untaken: Untaken;
  /** The kind whose turn is next: ends of one kind that are not taken do not hold up those of the other. */
  #turn = 0;
  #isDoubtful = false;
  /** No end is begun to be told once it aborts. */
  #stop = new AbortController().signal;

  constructor(deps: WebhookDeps) {
    this.#deps = deps;
    this.#untaken = new Untaken(deps.log, deps.clock);
    this.#ends = KINDS.map((kind) => new UntoldEnds(kind, deps));
  }

  /**
   * Tells ends until `stop` aborts, then resolves once each try under way was answered or cut off. Ends left unanswered
   * are told again by another coordinator. Never rejects.
   */
  async tellUntil(stop: AbortSignal, reach: Reach): Promise<void> {
    const { clock, config } = this.#deps;
    this.#stop = stop;
    let answered = () => {};
    const left = onAbort([stop], () => {
      answered = clock.after(LAST_ANSWERS * config.drainMs, () => this.#cut.abort(new Error("this coordinator stops")));
    }); // also amid a look, which may take long
    while (!stop.aborted) {
      try {
        await this.look();
        reach.worked("webhooks");
      } catch (error) {
        this.#isDoubtful = true;
        if (!stop.aborted) reach.failed("webhooks", error);
      }
      await clock.sleep(config.beatMs, stop).catch(() => {});
    }
    await Promise.all(this.#telling.values());
    answered();
    left();
  }

  /**
   * Reads what was written since the last look and begins to tell what is due. A place that gets free is filled without
   * another look.
   */
  async look(): Promise<void> {
    await Promise.all(this.#ends.map((ends) => ends.recheck(this.#isDoubtful)));
    this.#isDoubtful = false;
    for (const ends of this.#ends) await ends.hear(this.#stop);
    const nowMs = await this.#deps.bus.log.nowMs();
    for (const ends of this.#ends) ends.wake(nowMs);
    this.#fill();
  }

  #fill(): void {
    while (!this.#stop.aborted && this.#telling.size < this.#window.size) {
      const next = this.#next();
      if (next === null) return;
      const { ends, end } = next;
      const key = `${ends.kind}\n${keyOf(end)}`;
      if (this.#telling.has(key)) ends.putBack(end);
      else
        this.#telling.set(
          key,
          this.#tell(ends, end).finally(() => {
            this.#telling.delete(key);
            this.#fill();
          }),
        );
    }
  }

  #next(): { readonly ends: UntoldEnds; readonly end: Untold } | null {
    for (let i = 0; i < this.#ends.length; i++) {
      const ends = this.#ends[this.#turn++ % this.#ends.length]!;
      const end = ends.take();
      if (end !== null) return { ends, end };
    }
    return null;
  }

  /** Never rejects. */
  async #tell(ends: UntoldEnds, end: Untold): Promise<void> {
    const { clock, log } = this.#deps;
    const place = new AbortController();
    const until = linked(this.#stop, place.signal);
    const held = clock.sleep(PLACE_MS, until.signal).catch(() => {});
    try {
      const tried = await tellEnd({ ...this.#deps, untaken: this.#untaken }, ends, end, this.#cut.signal);
      if (tried === null) place.abort();
      else this.#window.tried(tried.pace, this.#telling.size);
      this.#fill(); // the window may have grown
    } catch (error) {
      if (ServingError.from(error).code === "INTERNAL") log.warn({ [ends.kind]: end.id, err: error }, "a webhook could not be sent");
      else this.#untaken.failed(toldOf(error), false);
    }
    await held;
    until.release();
  }
}

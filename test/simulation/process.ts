import type { Clock } from "../../services/shared/runtime/clock.ts";
import type { Dice } from "../support/dice.ts";
import type { Party } from "../support/road.ts";
import { sleepOn } from "../support/virtual-clock.ts";
import type { Fate } from "./weather.ts";
import type { World } from "./world.ts";

/**
 * One life of a process. All that wakes its code comes through `run`: its timers, answers, announcements, turns of its
 * engine. Frozen, it runs none of it and later all, as a zombie does; dead, none ever. Its fate meets it at one of
 * these moments, so that it may crash at any await.
 */
export class Process implements Party {
  readonly name: string;
  readonly dice: Dice;
  readonly clock: Clock;
  /** Events that may make its claims lead nowhere through no fault of the job. */
  mishaps = 0;
  readonly #world: World;
  readonly #mourners = new Set<() => void>();
  #state: "running" | "frozen" | "dead" = "running";
  #held: (() => void)[] = [];
  #fate: { readonly fate: Fate; awaits: number } | null = null;
  #onDrain: () => void = () => {};

  constructor(world: World, name: string) {
    this.#world = world;
    this.name = name;
    this.dice = world.dice.fork();
    const skewMs = Math.floor(this.dice.upTo(2 * world.weather.skewMs) - world.weather.skewMs);
    this.clock = {
      nowMs: () => world.clock.nowMs() + skewMs,
      monotonicMs: () => world.clock.monotonicMs(),
      sleep: (ms, signal) => sleepOn((act) => this.clock.after(ms, act), signal),
      after: (ms, act) => world.clock.after(ms, () => this.run(act)),
    };
    this.#drawFate();
  }

  get dead(): boolean {
    return this.#state === "dead";
  }
  get running(): boolean {
    return this.#state === "running";
  }

  /** Calls `act` once it is dead: its connections break. The returned function cancels that. */
  onEnd(act: () => void): () => void {
    if (this.dead) act();
    else this.#mourners.add(act);
    return () => void this.#mourners.delete(act);
  }

  /** What a SIGTERM does. */
  onDrain(drain: () => void): void {
    this.#onDrain = drain;
  }

  run(act: () => void): void {
    if (this.#state === "running") this.#meetFate();
    if (this.#state === "running") act();
    else if (this.#state === "frozen") this.#held.push(act);
  }

  sends(): boolean {
    if (this.#state === "running") this.#meetFate();
    return this.#state === "running";
  }

  missed(): void {
    this.mishaps++;
  }

  kill(): void {
    if (this.dead) return;
    this.note("dies");
    this.mishaps++;
    this.#end();
  }

  /** Ends by itself. */
  exit(): void {
    if (this.dead) return;
    this.note("exits");
    this.#end();
  }

  freeze(): void {
    if (this.#state !== "running") return;
    this.note("freezes");
    this.mishaps++;
    this.#state = "frozen";
    this.#world.clock.after(this.dice.upTo(this.#world.weather.freezeMs), () => this.thaw());
  }

  /** Everything that was held runs in order, each in a turn of its own. */
  thaw(): void {
    if (this.#state !== "frozen") return;
    this.note("thaws");
    this.#state = "running";
    for (const act of this.#held.splice(0)) this.#world.clock.after(0, () => this.run(act));
    this.#drawFate();
  }

  drain(): void {
    this.note("is told to stop");
    this.#onDrain();
  }

  note(what: string): void {
    this.#world.note(this.name, what);
  }

  #end(): void {
    this.#state = "dead";
    this.#held = [];
    for (const act of this.#mourners) act();
  }

  #drawFate(): void {
    const { fates, fateAwaits } = this.#world.weather;
    this.#fate = fates.length === 0 ? null : { fate: this.dice.pick(fates), awaits: this.dice.size(1, fateAwaits) };
  }

  #meetFate(): void {
    if (this.#fate === null || !this.#world.stormy || --this.#fate.awaits > 0) return;
    const { fate } = this.#fate;
    this.#fate = null;
    if (fate === "kill") this.kill();
    else this.#world.clock.after(0, () => this.running && this[fate]()); // signals come between two turns
  }
}

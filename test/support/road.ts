import type { Clock } from "../../services/shared/runtime/clock.ts";
import { ServingError } from "../../services/shared/runtime/errors.ts";
import { patiently } from "../../services/shared/runtime/pause.ts";
import type { Dice } from "./dice.ts";
import type { VirtualClock } from "./virtual-clock.ts";

/** How bad the roads between processes are. All but the times are probabilities. */
export interface Roughness {
  /** The longest delay of one way. */
  readonly delayMs: number;
  readonly lostRequests: number;
  readonly lostAnswers: number;
  /** Messages without an answer, lost or doubled on their way. */
  readonly lostMessages: number;
  readonly doubledMessages: number;
  /** How long a process waits for an answer before it takes it for lost. */
  readonly patienceMs: number;
  /** How long it asks again. */
  readonly answerMs: number;
}

/**
 * A process at the end of a road. Once it is dead, nothing leaves or reaches it; while it stands still, nothing reaches
 * it.
 */
export interface Party {
  readonly clock: Clock;
  /** Called before anything is sent: false once it is dead. */
  sends(): boolean;
  run(act: () => void): void;
  /** Called when it got no answer. */
  missed(): void;
}

const bystander = (clock: Clock): Party => ({ clock, sends: () => true, run: (act) => act(), missed: () => {} });

/** The way from one process to a server and back. */
export class Road {
  readonly dice: Dice;
  readonly #clock: VirtualClock;
  readonly #roughness: () => Roughness;
  readonly #party: Party;
  readonly #never = new AbortController().signal;

  constructor(clock: VirtualClock, dice: Dice, roughness: () => Roughness, party: Party = bystander(clock)) {
    this.dice = dice;
    this.#clock = clock;
    this.#roughness = roughness;
    this.#party = party;
  }

  /** Asks, again and again if need be. */
  ask<T>(request: () => Promise<T>): Promise<T> {
    const { answerMs } = this.#roughness();
    return answerMs === 0 ? this.try(request) : patiently(this.#party.clock, answerMs, this.#never, () => this.try(request));
  }

  /** Asks once. UNAVAILABLE if request or answer got lost: whether it was done is then unknown. */
  try<T>(request: () => Promise<T>): Promise<T> {
    return new Promise((resolve, reject) => {
      if (!this.#party.sends()) return;
      const { lostRequests, lostAnswers } = this.#roughness();
      if (this.dice.chance(lostRequests)) return this.#giveUp(reject, "the request was lost");
      const back = (act: () => void) =>
        this.dice.chance(lostAnswers) ? this.#giveUp(reject, "the answer was lost") : this.#travel(() => this.#party.run(act));
      this.#travel(() => {
        request().then(
          (value) => back(() => resolve(value)),
          (error) => back(() => reject(error)),
        );
      });
    });
  }

  /** Tells something that needs no answer. */
  tell(act: () => void): void {
    if (this.#party.sends()) this.#copies(() => this.#travel(act));
  }

  /** Receives what others tell. */
  hear(act: () => void): void {
    this.#copies(() => this.#travel(() => this.#party.run(act)));
  }

  #copies(send: () => void): void {
    const { lostMessages, doubledMessages } = this.#roughness();
    for (let copies = this.dice.chance(lostMessages) ? 0 : this.dice.chance(doubledMessages) ? 2 : 1; copies > 0; copies--) send();
  }

  #travel(arrive: () => void): void {
    this.#clock.after(this.dice.upTo(this.#roughness().delayMs), arrive);
  }

  #giveUp(reject: (error: Error) => void, message: string): void {
    this.#party.missed();
    this.#clock.after(this.#roughness().patienceMs, () => this.#party.run(() => reject(new ServingError("UNAVAILABLE", message))));
  }
}

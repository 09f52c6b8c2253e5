import { closed } from "./closing.ts";
import { Cost } from "./cost.ts";
import type { Network } from "./network.ts";
import { type Below, END, type Stack, StackPool, type Stacks } from "./stacks.ts";

/** Moves an answer through a network. */
export class Reader {
  readonly pool = new StackPool();
  readonly cost = new Cost();
  readonly #network: Network;

  constructor(network: Network) {
    this.#network = network;
  }

  start(): Stacks {
    return this.at([this.#network.start]);
  }

  /** As if the answer began in one of these states. */
  at(states: readonly number[]): Stacks {
    return this.#closed(states.map((state) => this.pool.stack(state, 0, END)));
  }

  /** After a rule that has ended. */
  behind({ stacks, isEnd }: Below): Stacks {
    const { stacks: reached, ended } = this.#closed(stacks);
    return { stacks: reached, ended: ended || isEnd };
  }

  /** Null if the byte leads nowhere. */
  step(from: Stacks, byte: number): Stacks | null {
    this.cost.add(from.stacks.length);
    const reached: Stack[] = [];
    for (const stack of from.stacks) this.#move(stack, byte, reached);
    return reached.length === 0 ? null : this.#closed(reached);
  }

  #move({ state, count, below }: Stack, byte: number, reached: Stack[]): void {
    const { states } = this.#network;
    const { moves, text } = states[state]!;
    for (const { first, last, to, completes } of moves) {
      if (byte < first || byte > last) continue;
      const next = states[to]!;
      if (text === null) reached.push(this.pool.stack(to, 0, below));
      else if (next.text === null) {
        if (text.mayEnd(count)) reached.push(this.pool.stack(to, 0, below));
      } else if (text.leads(next.heads, text.after(count))) reached.push(this.pool.stack(to, completes ? text.after(count) : count, below));
    }
  }

  #closed(reached: readonly Stack[]): Stacks {
    return closed(this.#network, this.pool, this.cost, reached);
  }
}

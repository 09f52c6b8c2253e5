import type { Bus } from "../../services/shared/bus/contract.ts";

/**
 * A worker's hold on the world outside itself. Frozen (SIGSTOP), none of its calls is made or answered; thawed
 * (SIGCONT), all go on as if nothing had happened, like those of a zombie. Killed, none ever is.
 */
export class Life {
  #gate: Promise<void> = Promise.resolve();
  #open: () => void = () => {};
  #frozen = false;
  #dead = false;

  get dead(): boolean {
    return this.#dead;
  }

  /** Resolves once it is not frozen. */
  get awake(): Promise<void> {
    return this.#gate;
  }

  freeze(): void {
    this.#frozen = true;
    this.#gate = new Promise((resolve) => {
      this.#open = resolve;
    });
  }

  thaw(): void {
    this.#frozen = false;
    this.#open();
  }

  kill(): void {
    this.#dead = true;
    this.freeze();
  }

  bus(bus: Bus): Bus {
    return {
      ...bus,
      log: this.object(bus.log),
      queue: this.object(bus.queue),
      payloads: this.object(bus.payloads),
      files: this.object(bus.files),
      documents: this.object(bus.documents),
      registry: this.object(bus.registry),
    };
  }

  /** The same object, reached only while alive: its methods and those of what they resolve to (claims, messages). */
  object<T extends object>(target: T): T {
    return new Proxy(target, {
      get: (_, name) => {
        const value: unknown = Reflect.get(target, name, target);
        return typeof value === "function" ? (...args: unknown[]) => this.#call(value.bind(target, ...args)) : value;
      },
    });
  }

  #call(call: () => unknown): unknown {
    if (this.#frozen) return this.#gate.then(() => this.#alive(call()));
    return this.#alive(call());
  }

  #alive(result: unknown): unknown {
    if (!(result instanceof Promise)) return result;
    return result.then(async (value: unknown) => {
      while (this.#frozen) await this.#gate;
      return this.#wrapped(value);
    });
  }

  #wrapped(value: unknown): unknown {
    if (value === null || typeof value !== "object") return value;
    if ("claim" in value && typeof value.claim === "object" && value.claim !== null) return { ...value, claim: this.object(value.claim) };
    return "working" in value ? this.object(value) : value;
  }
}

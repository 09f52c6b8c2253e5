import { once } from "node:events";
import { connect, createServer, type Server, type Socket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";

/** What is looked for may come in two pieces, of which the first is no longer than this. */
const OVERLAP = 200;

/** A TCP proxy on loopback: a network that can be slow, fall silent, break, or lose what the server answers. */
export class LossyProxy {
  readonly #server: Server;
  readonly #pairs = new Set<readonly [client: Socket, upstream: Socket]>();
  #swallowing = false;
  #swallowed: (() => void) | null = null;
  /** Bytes that clients may still send before everything is held. */
  #passing = Number.POSITIVE_INFINITY;
  #isLast: ((sent: string) => boolean) | null = null;
  /** Where new connections lead. */
  targetPort: number;
  /** How long answers are held back. */
  delayMs = 0;

  private constructor(targetPort: number) {
    this.targetPort = targetPort;
    this.#server = createServer((client) => this.#join(client, connect(this.targetPort, "127.0.0.1")));
  }

  static async start(targetPort: number): Promise<LossyProxy> {
    const proxy = new LossyProxy(targetPort);
    proxy.#server.listen(0, "127.0.0.1");
    await once(proxy.#server, "listening");
    return proxy;
  }

  get port(): number {
    const address = this.#server.address();
    if (address === null || typeof address === "string") throw new Error("the proxy is not listening");
    return address.port;
  }

  /**
   * From now on answers vanish: the requests arrive, but the client does not learn of it. Resolves when the first
   * answer has.
   */
  swallow(): Promise<void> {
    this.#swallowing = true;
    return new Promise((resolve) => {
      this.#swallowed = resolve;
    });
  }

  /** Breaks every connection. New ones are whole again. */
  cut(): void {
    this.#swallowing = false;
    for (const pair of this.#pairs) for (const socket of pair) socket.destroy();
  }

  /**
   * A partition, once clients have sent `afterBytes` more: nothing gets through and no one is told, on new connections
   * neither, until `release`. Then everything arrives.
   */
  hold(afterBytes = 0): void {
    this.#passing = afterBytes;
    for (const pair of this.#pairs) for (const socket of pair) this.#isHolding ? socket.pause() : socket.resume();
  }

  /**
   * A partition whenever a client has sent something that `isLast` accepts: it arrives, and nothing comes back.
   * `isLast` is asked about everything that is sent, with the end of what the same client sent before. Null ends this;
   * what is held stays held until `release`.
   */
  holdBehind(isLast: ((sent: string) => boolean) | null): void {
    this.#isLast = isLast;
  }

  release(): void {
    this.hold(Number.POSITIVE_INFINITY);
  }

  async stop(): Promise<void> {
    this.cut();
    this.#server.close();
    await once(this.#server, "close");
  }

  get #isHolding(): boolean {
    return this.#passing <= 0;
  }

  #join(client: Socket, upstream: Socket): void {
    const pair = [client, upstream] as const;
    this.#pairs.add(pair);
    const end = () => {
      this.#pairs.delete(pair);
      client.destroy();
      upstream.destroy();
    };
    for (const socket of pair) socket.setNoDelay(true).on("close", end).on("error", end);
    let before = "";
    client.on("data", (bytes) => {
      upstream.write(bytes);
      this.#passing -= bytes.length;
      const sent = this.#isLast === null ? "" : before + bytes.toString("latin1");
      before = sent.slice(-OVERLAP);
      if (this.#isHolding || this.#isLast?.(sent)) this.hold();
    });
    this.#answer(upstream, client);
    if (this.#isHolding) for (const socket of pair) socket.pause();
  }

  /** Keeps the order, even if the delay changes meanwhile. */
  #answer(upstream: Socket, client: Socket): void {
    let last: Promise<void> | null = null;
    upstream.on("data", (bytes) => {
      if (this.#swallowing) return this.#swallowed?.();
      if (this.delayMs === 0 && last === null) return void client.write(bytes);
      const turn = Promise.all([sleep(this.delayMs), last]).then(() => {
        client.write(bytes);
        if (last === turn) last = null;
      });
      last = turn;
    });
  }
}

import type { FailureReason } from "../tally.ts";

/** Redis could not do what was asked. Never leaves the store: it becomes a miss, a `false`, and a count. */
export class RedisFailure extends Error {
  override readonly name = "RedisFailure";
  readonly reason: FailureReason;
  /** The server that failed, if it is not the one first asked. */
  readonly server: string | null;

  constructor(reason: FailureReason, message: string, server: string | null = null) {
    super(message);
    this.reason = reason;
    this.server = server;
  }

  /** The server takes no writes, and waiting does not change that: its name may lead to another by now. */
  get isOfServer(): boolean {
    return this.reason === "readonly";
  }

  /** No master has the slot, which says nothing of the server that answers so. */
  get isOfSlot(): boolean {
    return this.message === "CLUSTERDOWN Hash slot not served";
  }

  /** The failure of a command that was sent on to `server`, and perhaps from there to the one it names already. */
  behind(server: string): RedisFailure {
    return this.server === null ? new RedisFailure(this.reason, this.message, server) : this;
  }

  /** From the text of an error reply: `OOM command not allowed ...`. */
  static reply(text: string): RedisFailure {
    return new RedisFailure(reasons[text.split(" ", 1)[0] ?? ""] ?? "refused", text);
  }
}

const reasons: Readonly<Record<string, FailureReason>> = {
  NOAUTH: "auth",
  WRONGPASS: "auth",
  NOPERM: "auth",
  LOADING: "loading",
  BUSY: "loading",
  TRYAGAIN: "loading",
  OOM: "full",
  READONLY: "readonly",
  MISCONF: "readonly",
  NOREPLICAS: "readonly",
  MASTERDOWN: "readonly",
  CLUSTERDOWN: "unserved",
};

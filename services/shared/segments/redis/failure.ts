import type { FailureReason } from "../tally.ts";

/** Redis could not do what was asked. Never leaves the store: it becomes a miss, a `false`, and a count. */
export class RedisFailure extends Error {
  override readonly name = "RedisFailure";
  readonly reason: FailureReason;
  /** Where it arose, if that is not the server first asked. */
  readonly server: string | null;

  constructor(reason: FailureReason, message: string, server: string | null = null) {
    super(message);
    this.reason = reason;
    this.server = server;
  }

  /** The server takes no writes, not for now but as it is: another may stand where its name leads. */
  get isOfServer(): boolean {
    return this.reason === "readonly";
  }

  /** It says nothing of the server that says so: no master has the slot. */
  get isOfSlot(): boolean {
    return this.message === "CLUSTERDOWN Hash slot not served";
  }

  /** Of a command that was sent on to `server`, and maybe on from there. */
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

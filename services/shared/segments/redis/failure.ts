import type { FailureReason } from "../tally.ts";

/** Redis could not do what was asked. Never leaves the store: it becomes a miss, a `false`, and a count. */
export class RedisFailure extends Error {
  override readonly name = "RedisFailure";
  readonly reason: FailureReason;

  constructor(reason: FailureReason, message: string) {
    super(message);
    this.reason = reason;
  }

  /** The server takes no writes, not for now but as it is: another may stand where its name leads. In a cluster the others say that, not its name. */
  get isOfServer(): boolean {
    return this.reason === "readonly" && !this.message.startsWith("CLUSTERDOWN");
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
  CLUSTERDOWN: "readonly",
};

import type { Bus, Claim, Message } from "../bus/contract.ts";
import { enqueue } from "../bus/enqueue.ts";
import type { LogRecord, Phase } from "../bus/events.ts";
import type { Clock } from "../runtime/clock.ts";
import { HeldJob } from "./held-job.ts";

interface Claiming {
  readonly phase: Phase;
  readonly worker: string;
  readonly claimMs: number;
  readonly turnMs: number;
  readonly clock: Clock;
}

/**
 * Claims the job of a message. Null if it is not ours to do now; the message is then handled as the log says. Once the
 * claim is held, the record is not asked again.
 */
export async function claimJob(bus: Bus, { phase, worker, claimMs, turnMs, clock }: Claiming, message: Message): Promise<HeldJob | null> {
  const recordAheadMs = (await bus.log.nowMs()) - clock.monotonicMs();
  const result = await bus.log.claim(message.item.jobId, phase, worker, message.deliveries === 1 ? message.item.log : undefined);
  switch (result.kind) {
    case "held":
      return null;
    case "over":
      await passAlong(bus, message);
      return null;
    case "exhausted":
      await giveUp(result.claim, result.last, message);
      return null;
    case "claimed":
      return new HeldJob(result.claim, message, result.history, { clock, claimMs, turnMs, recordAheadMs });
  }
}

/**
 * The job is no longer in this message's phase. If it waits in the other phase, the worker that moved it there may have
 * died before it published that phase's message. A duplicate message is harmless; a missing one loses the job.
 */
async function passAlong(bus: Bus, message: Message): Promise<void> {
  const last = await bus.log.last(message.item.jobId);
  if (last !== null && (last.event.type === "handed_over" || last.event.type === "sent_back") && last.phase !== message.phase) {
    const first = await bus.log.first(last.jobId);
    if (first?.event.type === "submitted") await enqueue(bus.queue, last.phase, last.jobId, first.event.request, last.sequence);
  }
  message.ack();
}

async function giveUp(claim: Claim, last: LogRecord, message: Message): Promise<void> {
  const reason = last.event.type === "released" ? `: ${last.event.reason}` : "";
  const failed = { type: "failed", code: "INTERNAL", message: `${last.attempt} workers in a row could not do this job${reason}` } as const;
  if ((await claim.append(failed)) !== null) message.ack();
}

import { decodeRecord, encodeLive, encodeRecord } from "../../services/shared/bus/codec.ts";
import type { Bus, Claim, Message } from "../../services/shared/bus/contract.ts";
import type { JobEvent, LogRecord } from "../../services/shared/bus/events.ts";
import type { Journal } from "../../services/shared/bus/journal.ts";
import { TURN_IS_OVER } from "../../services/shared/bus/reasons.ts";
import type { Engine } from "../../services/shared/engine/engine.ts";
import { HEADER_BYTES } from "../../services/shared/segments/format.ts";
import { engineOptions, SEGMENT } from "../support/model.ts";
import { overriding } from "../support/overriding.ts";
import type { Bug } from "./bug.ts";

/** The mistakes that the rules of the record (docs/architecture.md) are there to prevent. */
export const bugs: Readonly<Record<string, Bug>> = {
  "skip the fence": {
    journal: (journal) =>
      overriding(journal, {
        append: async (jobId, bytes, after, id) => {
          const last = after === 0 ? null : await journal.last(jobId).catch(() => null);
          return journal.append(jobId, bytes, last?.sequence ?? after, id);
        },
      }),
  },
  "ack early": { bus: (bus) => onMessage(bus, (message) => message.ack()) },
  "a zombie acks": { bus: (bus) => onLost(bus, (message) => message.ack()) },
  "a zombie naks": { bus: (bus) => onLost(bus, (message) => message.nak(0)) },
  "a zombie sends working()": { bus: (bus) => onLost(bus, (message) => message.working()) },
  "fan out before the append is acknowledged": {
    journal: (journal) =>
      overriding(journal, {
        append: (jobId, bytes, after, id) => {
          if (after > 0) journal.announce(jobId, encodeLive(decodeRecord(jobId, after + 1, bytes)), true);
          return journal.append(jobId, bytes, after, id);
        },
      }),
  },
  "drop the overlap state": {
    engine: (engine) => overriding(engine, { boundary: async (sequence) => withoutWindow(await engine.boundary(sequence)) }),
  },
  "ignore the checksum": {
    store: (store, _, world) =>
      overriding(store, {
        get: async (key, _, allocate) => {
          const value = world.store.stored(key)?.subarray(HEADER_BYTES);
          if (value === undefined) return null;
          const memory = allocate(value.length);
          memory.bytes.set(value);
          return memory;
        },
      }),
  },
  "reuse an epoch": {
    journal: (journal) => rewriting(journal, (record) => (record.epoch < 2 ? record : { ...record, epoch: record.epoch - 1 })),
  },
  "forget a boundary": { engine: withoutReplay },
  "re-sample on takeover": {
    bus: (bus) => ({
      ...bus,
      log: overriding(bus.log, {
        claim: async (...args) => {
          const result = await bus.log.claim(...args);
          return result.kind === "claimed" ? { ...result, history: result.history.map(resampled) } : result;
        },
      }),
    }),
  },
  "count a paused job as a failed attempt": {
    bus: (bus) =>
      onClaim(bus, (claim) =>
        overriding(claim, {
          append: (event) => claim.append(event.type === "released" ? { type: "released", reason: event.reason } : event),
        }),
      ),
  },
  "ack a job that yields before it waits again": {
    bus: (bus) =>
      onAppend(bus, (message, event, record) => {
        if (record !== null && event.type === "released" && event.reason === TURN_IS_OVER) message.ack();
      }),
  },
  "leave messages that nobody is given": {
    bus: (bus) => ({ ...bus, queue: overriding(bus.queue, { renew: async () => false }) }),
  },
};

/** Calls `act` with every message a worker gets. */
function onMessage(bus: Bus, act: (message: Message) => void): Bus {
  const heard = (message: Message | null) => {
    if (message !== null) act(message);
    return message;
  };
  const queue = overriding(bus.queue, {
    pull: async (...args) => heard(await bus.queue.pull(...args)),
    poll: async (...args) => heard(await bus.queue.poll(...args)),
  });
  return { ...bus, queue };
}

/** Calls `act` with the message of a job whose claim turns out to be lost. */
const onLost = (bus: Bus, act: (message: Message) => void): Bus => onAppend(bus, (message, _, record) => record === null && act(message));

/** Calls `act` after each append by a claim, with the message of the job; `record`: null where it was refused. */
function onAppend(bus: Bus, act: (message: Message, event: JobEvent, record: LogRecord | null) => void): Bus {
  const messages = new Map<string, Message>();
  const watched = (claim: Claim): Claim =>
    overriding(claim, {
      append: async (event: JobEvent) => {
        const record = await claim.append(event);
        act(messages.get(claim.jobId)!, event, record);
        return record;
      },
    });
  return onClaim(
    onMessage(bus, (message) => messages.set(message.item.jobId, message)),
    watched,
  );
}

const onClaim = (bus: Bus, change: (claim: Claim) => Claim): Bus => ({
  ...bus,
  log: overriding(bus.log, {
    claim: async (...args) => {
      const result = await bus.log.claim(...args);
      return "claim" in result ? { ...result, claim: change(result.claim) } : result;
    },
  }),
});

/** Stores every record as `rewrite` gives it, under the id that belongs to it. */
const rewriting = (journal: Journal, rewrite: (record: LogRecord) => LogRecord): Journal =>
  overriding(journal, {
    append: (jobId, bytes, after, id) => {
      const record = decodeRecord(jobId, after + 1, bytes);
      const rewritten = rewrite(record);
      return journal.append(jobId, encodeRecord(rewritten), after, id.replace(`${jobId}:${record.epoch}:`, `${jobId}:${rewritten.epoch}:`));
    },
  });

const WINDOW = engineOptions.replayTokens!;

/** A weightless boundary ends with the ids of its window. */
function withoutWindow(boundary: Uint8Array): Uint8Array {
  const position = new DataView(boundary.buffer, boundary.byteOffset).getUint32(0, true);
  return boundary.fill(0, boundary.length - 4 * Math.min(position, WINDOW));
}

/** Without a boundary it goes on at the end of the segments, as if there were no windows to rebuild. */
function withoutReplay(engine: Engine): Engine {
  return overriding(engine, {
    open: ({ segments, boundary }) => {
      const position = segments.length * SEGMENT;
      if (boundary !== null || position === 0) return engine.open({ segments, boundary });
      const bytes = new Uint8Array(4 * (1 + Math.min(position, WINDOW)));
      new DataView(bytes.buffer).setUint32(0, position, true);
      return engine.open({ segments, boundary: { position, bytes } });
    },
  });
}

/** The last id of a `tokens` event as another draw would have given it. */
function resampled(record: LogRecord): LogRecord {
  if (record.event.type !== "tokens") return record;
  const { first, ids } = record.event;
  return { ...record, event: { type: "tokens", first, ids: [...ids.slice(0, -1), 2 + ((ids.at(-1)! * 7 + 1) % 498)] } };
}

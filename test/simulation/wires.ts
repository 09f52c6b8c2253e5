import type { Bus, JobQueue, Message, PayloadStore, Registry } from "../../services/shared/bus/contract.ts";
import type { Journal } from "../../services/shared/bus/journal.ts";
import { FencedLog } from "../../services/shared/bus/log.ts";
import { type Allocate, heapMemory, type Memory } from "../../services/shared/runtime/memory.ts";
import type { SegmentStore } from "../../services/shared/segments/contract.ts";
import { forgetfulStore } from "../support/forgetful-store.ts";
import { overriding } from "../support/overriding.ts";
import { Road } from "../support/road.ts";
import { RoughJournal } from "../support/rough-journal.ts";
import type { Process } from "./process.ts";
import { ACK_WAIT_MS, ATTEMPTS_MAX, CLAIM_MS, type World } from "./world.ts";

const rules = { claimMs: CLAIM_MS, ackWaitMs: ACK_WAIT_MS, attemptsMax: ATTEMPTS_MAX, answerMs: 5_000, appendMs: 60_000 };

/** The record as one process reaches it: the rules of the log run in the process, behind them lies the road. */
export function recordOf(world: World, process: Process): Bus {
  const closing = new AbortController();
  const road = new Road(world.clock, process.dice, () => world.roughness("record"), process);
  const journal = new RoughJournal(judged(world, process), road);
  const planted = world.bug.journal?.(journal, process, world) ?? journal;
  const bus: Bus = {
    log: new FencedLog(planted, rules, process.clock, process.dice.random, closing.signal),
    queue: queueOf(world, process, road),
    payloads: objectsOf(world.payloads, road),
    files: objectsOf(world.files, road),
    documents: {
      put: (...args) => road.ask(() => world.documents.put(...args)),
      get: (...args) => road.ask(() => world.documents.get(...args)),
      behind: (...args) => road.ask(() => world.documents.behind(...args)),
      end: (...args) => road.ask(() => world.documents.end(...args)),
      delete: (...args) => road.ask(() => world.documents.delete(...args)),
      interruptions: () => world.documents.interruptions(),
      room: () => road.ask(() => world.documents.room()),
    },
    registry: registryOf(world.registry, road),
    storage: async () => null,
    ready: async () => {},
    close: async () => closing.abort(),
  };
  return world.bug.bus?.(bus, process, world) ?? bus;
}

const judged = (world: World, process: Process): Journal =>
  overriding(world.journal, {
    append: async (jobId, bytes, after, id) => {
      const outcome = await world.journal.append(jobId, bytes, after, id);
      if (outcome.kind === "stored") world.judge.stored(process.name, jobId, outcome.sequence, bytes);
      else world.note(process.name, `${jobId} append ${outcome.kind}`);
      return outcome;
    },
  });

function queueOf(world: World, process: Process, road: Road): JobQueue {
  return {
    publish: (phase, model, lane, item) =>
      road.ask(async () => {
        await world.queue.publish(phase, model, lane, item);
        world.judge.published(phase, item);
        const lost = world.stormy && process.dice.chance(world.weather.lostInQueue);
        const kept = world.stormy && process.dice.chance(world.weather.keptFromAll);
        const fate = lost ? ", and lost" : kept ? ", for nobody" : "";
        world.note(process.name, `${item.jobId} published for ${phase} behind ${item.follows}${fate}`);
        if (lost) await world.queue.withdraw(phase, item.jobId);
        if (kept) world.kept.add(`${phase} ${item.jobId}`);
        else world.kept.delete(`${phase} ${item.jobId}`);
      }),
    poll: async (phase, model, lane) => {
      const message = await road.ask(() => world.queue.poll(phase, model, lane));
      return message === null || world.kept.has(`${phase} ${message.item.jobId}`) ? null : messageOf(world, process, road, message);
    },
    messages: (phase) => road.ask(() => world.queue.messages(phase)),
    renew: (phase, model, lane) =>
      road.ask(async () => {
        const renewed = await world.queue.renew(phase, model, lane);
        if (renewed) for (const message of [...world.kept]) if (message.startsWith(phase)) world.kept.delete(message);
        return renewed;
      }),
    withdraw: (phase, jobId) => road.ask(() => world.queue.withdraw(phase, jobId)),
    pull: (phase, model, waitMs, signal) =>
      new Promise((resolve) => {
        let open = true;
        const end = (message: Message | null) => {
          if (!open) return message !== null && road.tell(() => message.nak(0)); // it was delivered for us, this moment
          open = false;
          signal.removeEventListener("abort", stop);
          return resolve(message === null ? null : messageOf(world, process, road, message));
        };
        const stop = () => end(null);
        const given = (message: Message | null) =>
          end(message !== null && world.kept.has(`${phase} ${message.item.jobId}`) ? null : message);
        signal.addEventListener("abort", stop, { once: true });
        if (signal.aborted) return stop();
        road.try(() => world.queue.pull(phase, model, waitMs, world.never)).then(given, stop);
      }),
  };
}

function messageOf(world: World, process: Process, road: Road, message: Message): Message {
  const { item, phase, lane, deliveries } = message;
  const lengthThen = world.judge.length(item.jobId);
  world.note(process.name, `${item.jobId} ${phase} message, delivery ${deliveries}`);
  const touch = (kind: "working" | "ack" | "nak", act: () => void) => {
    if (process.dead) return;
    world.judge.touched(process.name, kind, item.jobId, phase, lengthThen);
    road.tell(() => {
      world.note(process.name, `${item.jobId} ${phase} ${kind}`);
      act();
    });
  };
  return {
    item,
    phase,
    lane,
    deliveries,
    working: () => touch("working", () => message.working()),
    ack: () => touch("ack", () => message.ack()),
    nak: (delayMs) => touch("nak", () => message.nak(delayMs)),
  };
}

const objectsOf = (objects: PayloadStore, road: Road): PayloadStore => ({
  put: (key, bytes) => road.ask(() => objects.put(key, bytes)),
  get: (key) => road.ask(() => objects.get(key)),
  delete: (key) => road.ask(() => objects.delete(key)),
  room: () => road.ask(() => objects.room()),
});

const registryOf = (registry: Registry, road: Road): Registry => ({
  beat: (role, id, value) => road.ask(() => registry.beat(role, id, value)),
  beats: (role) => road.ask(() => registry.beats(role)),
  retire: (role, id) => road.ask(() => registry.retire(role, id)),
  remember: (key, value) => road.ask(() => registry.remember(key, value)),
  recall: (key) => road.ask(() => registry.recall(key)),
  markCancelled: (jobId, by) => road.ask(() => registry.markCancelled(jobId, by)),
  cancelMark: (jobId) => road.ask(() => registry.cancelMark(jobId)),
  onCancel: (callback, signal) => registry.onCancel((jobId) => road.hear(() => callback(jobId)), signal),
  cancelMarks: (after, max) => road.ask(() => registry.cancelMarks(after, max)),
  notes: (after, max) => road.ask(() => registry.notes(after, max)),
  indexEnd: () => road.ask(() => registry.indexEnd()),
  noteFailure: (jobId, text) => road.ask(() => registry.noteFailure(jobId, text)),
  failures: (limit) => road.ask(() => registry.failures(limit)),
  lowWater: () => road.ask(() => registry.lowWater()),
  raiseLowWater: (place) => road.ask(() => registry.raiseLowWater(place)),
  forget: (jobId) => road.ask(() => registry.forget(jobId)),
  noteJob: (jobId, summary) => road.ask(() => registry.noteJob(jobId, summary)),
  jobs: (limit) => road.ask(() => registry.jobs(limit)),
  keepKey: (id, text) => road.ask(() => registry.keepKey(id, text)),
  forgetKey: (id) => road.ask(() => registry.forgetKey(id)),
  keptKeys: (after, max) => road.ask(() => registry.keptKeys(after, max)),
});

/** The store as one process reaches it. As its contract says, a store that is away is like an empty one. */
export function storeOf(world: World, process: Process): SegmentStore {
  const road = new Road(world.clock, process.dice, () => world.roughness("store"), process);
  const near = forgetfulStore(world.store, process.dice.random, () => (world.stormy ? world.weather.forgetful : 0));
  const ask = <T>(request: () => Promise<T>, away: T) => road.ask(request).catch(() => away);
  const store: SegmentStore = {
    countPrefix: (keys) => ask(() => near.countPrefix(keys), 0),
    get: async (key, head, allocate) => {
      const found = await ask(() => near.get(key, head, heapMemory), null);
      if (found === null) return null;
      const memory = allocated(found.bytes.length, allocate);
      memory?.bytes.set(found.bytes);
      return memory;
    },
    put: (key, head, payload) =>
      ask(async () => {
        const stored = await near.put(key, head, payload);
        if (stored && world.stormy && process.dice.chance(world.weather.damaged)) damage(world.store.stored(key), process);
        return stored;
      }, false),
    claim: (key, owner, ttlMs) => ask(() => near.claim(key, owner, ttlMs), true),
    unclaim: (key, owner) => ask(() => near.unclaim(key, owner), undefined),
    close: async () => {},
  };
  return world.bug.store?.(store, process, world) ?? store;
}

/** Null if there is no memory for a value: the store could not give it. */
function allocated(bytes: number, allocate: Allocate): Memory | null {
  try {
    return allocate(bytes);
  } catch {
    return null;
  }
}

/** Flips one bit of a value as stored. */
function damage(value: Uint8Array | null, { dice }: Process): void {
  if (value !== null) value[dice.whole(0, value.length - 1)]! ^= 1 << dice.whole(0, 7);
}

import { ServingError } from "../../runtime/errors.ts";
import type { Bus } from "../contract.ts";
import type { Journal } from "../journal.ts";
import { FencedLog } from "../log.ts";
import type { BusSettings } from "../settings.ts";
import { MemoryDocuments } from "./documents.ts";
import { MemoryJournal } from "./journal.ts";
import { MemoryPayloads } from "./payloads.ts";
import { MemoryQueue } from "./queue.ts";
import { MemoryRegistry } from "./registry.ts";

/**
 * The record in this process: the same rules, for the embedded cluster, tests and the simulator. Nothing outlives the
 * process.
 */
export function memoryBus(settings: BusSettings, journal: Journal = memoryJournal(settings)): Bus {
  const { clock, random, dedupeMs, logMaxAgeMs } = settings;
  const closing = new AbortController();
  const lives = { beatMs: settings.beatLifeMs, keyMs: settings.keyLifeMs, jobMs: logMaxAgeMs };
  const payloadBounds = { bytesMax: settings.payloadBytesMax, totalBytesMax: settings.payloadsMaxBytes, ageMsMax: logMaxAgeMs };
  const fileBounds = { ...payloadBounds, totalBytesMax: settings.filesMaxBytes, ageMsMax: settings.filesMaxAgeMs };
  const { documentsMaxBytes: bytesMax, endsMaxBytes: endsBytesMax, filesMaxAgeMs: ageMsMax } = settings;
  const documentBounds = { bytesMax, endsBytesMax, ageMsMax, endsAgeMsMax: logMaxAgeMs };
  return {
    log: new FencedLog(journal, settings, clock, random, closing.signal),
    queue: new MemoryQueue({ ackWaitMs: settings.ackWaitMs, dedupeMs, messagesMax: settings.queueMessagesMax }, clock, closing.signal),
    payloads: new MemoryPayloads(payloadBounds, clock),
    files: new MemoryPayloads(fileBounds, clock),
    documents: new MemoryDocuments(documentBounds, clock),
    registry: new MemoryRegistry(lives, clock),
    storage: async () => null,
    ready: async () => {
      if (closing.signal.aborted) throw new ServingError("UNAVAILABLE", "the bus is closed");
    },
    close: async () => closing.abort(),
  };
}

export const memoryJournal = ({ logMaxBytes, logMaxAgeMs, dedupeMs, clock }: BusSettings): MemoryJournal =>
  new MemoryJournal({ bytesMax: logMaxBytes, ageMsMax: logMaxAgeMs, dedupeMs }, clock);

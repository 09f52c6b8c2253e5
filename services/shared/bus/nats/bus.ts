import { patiently } from "../../runtime/pause.ts";
import { mayPass } from "../away.ts";
import type { Bus } from "../contract.ts";
import { FencedLog } from "../log.ts";
import type { BusSettings } from "../settings.ts";
import { Connection } from "./connection.ts";
import { NatsDocuments } from "./documents.ts";
import { ensureStream } from "./ensure-stream.ts";
import { NatsJournal } from "./journal.ts";
import { layout, prepared } from "./layout.ts";
import { NatsPayloads } from "./payloads.ts";
import { NatsQueue } from "./queue.ts";
import { NatsRegistry } from "./registry.ts";
import { measureStorage } from "./storage.ts";
import { Stream } from "./stream.ts";
import { names } from "./subjects.ts";

/** The record in JetStream. Everything stands on one connection. */
export function natsBus(settings: BusSettings): Bus {
  const { clock, random } = settings;
  const named = names(settings.prefix);
  const plans = layout(named, settings);
  const connection = new Connection(settings.url, settings, async (ready) => {
    const kept: string[] = [];
    for (const plan of prepared(plans, named, settings)) kept.push(...(await ensureStream(ready, plan)));
    if (kept.length > 0) settings.onKept(kept);
  });
  const stream = ({ stream: name }: { readonly stream: string }) => new Stream(name, connection, settings);
  const phases = { prefill: stream(named.prefill), decode: stream(named.decode) };
  const buckets = {
    beats: stream(named.beats),
    keys: stream(named.keys),
    marks: stream(named.marks),
    jobs: stream(named.jobs),
    access: stream(named.access),
  };
  const documents = { stream: stream(named.documents), subject: named.documents.subject };
  const ends = { stream: stream(named.ends), subject: named.ends.subject };
  const logged = { log: stream(named.log), beats: buckets.beats };
  const journal = new NatsJournal(connection, logged, named, settings);
  const objects = (of: typeof named.payloads) => new NatsPayloads(connection, stream(of), of, settings);
  return {
    log: new FencedLog(journal, settings, clock, random, connection.closing),
    queue: new NatsQueue(connection, phases, named, settings),
    payloads: objects(named.payloads),
    files: objects(named.files),
    documents: new NatsDocuments({ batch: documents, file: documents, event: ends }, connection),
    registry: new NatsRegistry(connection, buckets, named),
    storage: () => patiently(clock, settings.answerMs, connection.closing, () => measureStorage(connection, plans, logged, named), mayPass),
    ready: async (ms) => void (await patiently(clock, ms, connection.closing, () => connection.prepared())),
    close: () => connection.close(),
  };
}

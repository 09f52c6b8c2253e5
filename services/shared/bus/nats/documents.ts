import type { Document, DocumentKind, Documents, Room } from "../contract.ts";
import { token, untoken } from "../name.ts";
import type { Connection } from "./connection.ts";
import type { Stored } from "./messages.ts";
import type { Stream } from "./stream.ts";

/** What one request brings: it has to come within `tryMs`, and there may be many documents of hundreds of kilobytes. More than any message. */
const PAGE_BYTES = 4_194_304;

interface Bucket {
  readonly stream: Stream;
  readonly subject: string;
}

/** Buckets that keep the last message of each subject: kind, tenant, id. */
export class NatsDocuments implements Documents {
  readonly #buckets: Readonly<Record<DocumentKind, Bucket>>;
  #interruptions = 0;

  constructor(buckets: Readonly<Record<DocumentKind, Bucket>>, connection: Connection) {
    this.#buckets = buckets;
    connection.onInterruption((what) => {
      if (what === "back") this.#interruptions++;
    });
  }

  put(kind: DocumentKind, tenant: string, id: string, text: string, after: number): Promise<number | null> {
    return this.#buckets[kind].stream.put(this.#of(kind, token(tenant), token(id)), new TextEncoder().encode(text), { after });
  }

  async get(kind: DocumentKind, tenant: string, id: string): Promise<Document | null> {
    const stored = await this.#buckets[kind].stream.last(this.#of(kind, token(tenant), token(id)));
    return stored === null ? null : document(stored);
  }

  async behind(kind: DocumentKind, tenant: string | null, after: number, max: number): Promise<readonly Document[]> {
    const filter = this.#of(kind, tenant === null ? "*" : token(tenant), "*");
    return (await this.#buckets[kind].stream.news(filter, after, max, PAGE_BYTES)).map(document);
  }

  async end(kind: DocumentKind): Promise<number> {
    return (await this.#buckets[kind].stream.info()).state.last_seq;
  }

  delete(kind: DocumentKind, tenant: string, id: string): Promise<void> {
    return this.#buckets[kind].stream.purge(this.#of(kind, token(tenant), token(id)));
  }

  interruptions(): number {
    return this.#interruptions;
  }

  room(): Promise<Room> {
    return this.#buckets.batch.stream.room();
  }

  #of(kind: DocumentKind, tenant: string, id: string): string {
    return `${this.#buckets[kind].subject}.${kind}.${tenant}.${id}`;
  }
}

function document({ subject, bytes, sequence, storedMs }: Stored): Document {
  const [tenant = "", id = ""] = subject.split(".").slice(-2).map(untoken);
  return { tenant, id, text: Buffer.from(bytes).toString("utf8"), place: sequence, storedMs };
}

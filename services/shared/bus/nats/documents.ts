import type { Document, DocumentKind, Documents, Room } from "../contract.ts";
import { token, untoken } from "../name.ts";
import type { Stored } from "./messages.ts";
import type { Stream } from "./stream.ts";

/** What one request brings: it has to come within `tryMs`, and there may be many documents of hundreds of kilobytes. More than any message. */
const PAGE_BYTES = 4_194_304;

/** A bucket that keeps the last message of each subject: kind, tenant, id. */
export class NatsDocuments implements Documents {
  readonly #stream: Stream;
  readonly #subject: string;

  constructor(stream: Stream, subject: string) {
    this.#stream = stream;
    this.#subject = subject;
  }

  put(kind: DocumentKind, tenant: string, id: string, text: string, after: number): Promise<number | null> {
    return this.#stream.put(this.#of(kind, token(tenant), token(id)), new TextEncoder().encode(text), { after });
  }

  async get(kind: DocumentKind, tenant: string, id: string): Promise<Document | null> {
    const stored = await this.#stream.last(this.#of(kind, token(tenant), token(id)));
    return stored === null ? null : document(stored);
  }

  async behind(kind: DocumentKind, tenant: string | null, after: number, max: number): Promise<readonly Document[]> {
    return (await this.#stream.news(this.#of(kind, tenant === null ? "*" : token(tenant), "*"), after, max, PAGE_BYTES)).map(document);
  }

  delete(kind: DocumentKind, tenant: string, id: string): Promise<void> {
    return this.#stream.purge(this.#of(kind, token(tenant), token(id)));
  }

  room(): Promise<Room> {
    return this.#stream.room();
  }

  #of(kind: DocumentKind, tenant: string, id: string): string {
    return `${this.#subject}.${kind}.${tenant}.${id}`;
  }
}

function document({ subject, bytes, sequence, storedMs }: Stored): Document {
  const [tenant = "", id = ""] = subject.split(".").slice(-2).map(untoken);
  return { tenant, id, text: Buffer.from(bytes).toString("utf8"), place: sequence, storedMs };
}

import { once } from "node:events";
import type { OutgoingHttpHeaders, ServerResponse } from "node:http";
import type { FastifyReply } from "fastify";

/** One server-sent event. */
export interface StreamEvent {
  readonly data: string;
  readonly name?: string;
}

/** What is sent while there is nothing to say: a comment, which every client skips. */
const WAITING = ": waiting\n\n";

export interface EventStream {
  /** `id` comes back as Last-Event-ID. */
  send(event: StreamEvent & { readonly id?: string }): void;
  /** Resolves once the reader has taken what was sent, or is gone. Between records: what lies in the log already comes faster than any reader takes it. */
  room(): Promise<void>;
  /** Behind the last event. */
  end(): void;
  /** Aborts when the reader leaves, or is dropped because it takes nothing. */
  readonly gone: AbortSignal;
}

export interface StreamOptions {
  readonly heartbeatMs: number;
  /** The most bytes held for a reader. Where it is not waited for it is cut off beyond them: it can resume. */
  readonly streamBufferBytes: number;
}

/** A reader who is waited for and takes nothing for so many heartbeats is cut off. */
const STALLED_HEARTBEATS = 3;

/** Takes over the reply, whose headers are kept. `heartbeat` goes out whenever nothing was sent for a while, whatever phase the job is in. */
export function openEventStream(
  reply: FastifyReply,
  { heartbeatMs, streamBufferBytes }: StreamOptions,
  heartbeat: () => StreamEvent | null = () => null,
): EventStream {
  const response = reply.hijack().raw;
  response.writeHead(200, {
    ...(reply.getHeaders() as OutgoingHttpHeaders),
    "openai-processing-ms": Math.round(reply.elapsedTime),
    "content-type": "text/event-stream; charset=utf-8",
    "cache-control": "no-cache, no-transform",
    "x-accel-buffering": "no",
  });
  response.flushHeaders();
  const gone = new AbortController();
  const leave = (why: string) => {
    clearInterval(beat);
    if (!gone.signal.aborted) gone.abort(new Error(why));
  };
  const write = (chunk: string) => {
    if (gone.signal.aborted || response.writableEnded) return;
    response.write(chunk);
    if (response.writableLength > streamBufferBytes) cutOff();
  };
  const cutOff = () => {
    leave("the reader is too slow");
    response.destroy();
  };
  const beat = setInterval(() => {
    if (response.writableNeedDrain) return; // it has something to read
    const event = heartbeat();
    write(event === null ? WAITING : written(event));
  }, heartbeatMs);
  whenLeft(response, () => leave("the reader left"));
  return {
    gone: gone.signal,
    send(event) {
      beat.refresh();
      write(written(event));
    },
    async room() {
      if (!response.writableNeedDrain || gone.signal.aborted) return;
      const stalled = setTimeout(cutOff, STALLED_HEARTBEATS * heartbeatMs);
      await once(response, "drain", { signal: gone.signal }).catch(() => {}); // gone
      clearTimeout(stalled);
    },
    end() {
      clearInterval(beat);
      response.end();
    },
  };
}

/** Calls back once the reader has left, who may have done so before anybody listened. */
export function whenLeft(response: ServerResponse, callback: () => void): void {
  response.on("close", callback);
  if (response.destroyed) callback();
}

const written = ({ data, id, name }: StreamEvent & { readonly id?: string }): string =>
  `${name === undefined ? "" : `event: ${name}\n`}${id === undefined ? "" : `id: ${id}\n`}data: ${data}\n\n`;

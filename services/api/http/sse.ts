import { once } from "node:events";
import type { OutgoingHttpHeaders, ServerResponse } from "node:http";
import type { FastifyReply } from "fastify";
import type { Config } from "../../shared/runtime/config.ts";

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
  /** Resolves once the reader has taken what was sent, or is gone. Between events: what lies in the log already comes faster than any reader takes it. */
  room(): Promise<void>;
  /** Behind the last event. */
  end(): void;
  /** Aborts when the reader leaves, or is dropped because it takes nothing. */
  readonly gone: AbortSignal;
}

/** A reader who takes nothing of what lies here for him for so long is cut off. One who takes a little at a time is not. */
export const stalledMs = ({ heartbeatMs }: Pick<Config, "heartbeatMs">): number => 3 * heartbeatMs;

/** Takes over the reply, whose headers are kept. `heartbeat` goes out whenever nothing was sent for a while, whatever phase the job is in. */
export function openEventStream(
  reply: FastifyReply,
  config: Pick<Config, "heartbeatMs" | "streamBufferBytes">,
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
    if (gone.signal.aborted) return;
    if (response.writableLength > config.streamBufferBytes) cutOff();
    else response.write(chunk);
  };
  /** He can resume. */
  const cutOff = () => {
    leave("the reader is too slow");
    response.destroy();
  };
  const beat = setInterval(() => {
    if (response.writableNeedDrain) return; // it has something to read
    const event = heartbeat();
    write(event === null ? WAITING : written(event));
  }, config.heartbeatMs);
  response.on("timeout", cutOff);
  whenLeft(response, () => leave("the reader left"));
  if (reply.request.method === "HEAD") {
    leave("the reader asked for no more than the headers");
    response.end();
  }
  return {
    gone: gone.signal,
    send(event) {
      beat.refresh();
      write(written(event));
    },
    async room() {
      if (!response.writableNeedDrain || gone.signal.aborted) return;
      response.setTimeout(stalledMs(config));
      await once(response, "drain", { signal: gone.signal }).catch(() => {}); // gone
      response.setTimeout(0);
    },
    end() {
      clearInterval(beat);
      response.setTimeout(stalledMs(config));
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

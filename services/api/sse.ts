import type { ServerResponse } from "node:http";

export interface EventStream {
  /** One event. `id` comes back as Last-Event-ID. Returns false once the reader is gone or too slow: stop then. */
  send(event: { readonly data: string; readonly id?: string; readonly name?: string }): boolean;
  /** Ends the stream; with an error event if one is given. */
  end(): void;
  /** Aborts when the reader leaves, or is dropped for being slow. */
  readonly gone: AbortSignal;
}

export interface StreamOptions {
  readonly heartbeatMs: number;
  /** Bytes a reader may be behind. A slower one is cut off: it can resume, and nobody waits for it (I9). */
  readonly bufferBytes: number;
  readonly headers: Readonly<Record<string, string>>;
}

/** Takes over the response. A comment line goes out whenever nothing was sent for a while, whatever phase the job is in. */
export function openEventStream(response: ServerResponse, { heartbeatMs, bufferBytes, headers }: StreamOptions): EventStream {
  response.writeHead(200, {
    "content-type": "text/event-stream; charset=utf-8",
    "cache-control": "no-cache, no-transform",
    "x-accel-buffering": "no",
    ...headers,
  });
  response.flushHeaders();
  const gone = new AbortController();
  const leave = (why: string) => {
    clearInterval(heartbeat);
    if (!gone.signal.aborted) gone.abort(new Error(why));
  };
  const write = (chunk: string): boolean => {
    if (gone.signal.aborted || response.writableEnded) return false;
    response.write(chunk);
    if (response.writableLength <= bufferBytes) return true;
    leave("the reader is too slow");
    response.destroy();
    return false;
  };
  const heartbeat = setInterval(() => write(": waiting\n\n"), heartbeatMs);
  response.on("close", () => leave("the reader left"));
  return {
    gone: gone.signal,
    send({ data, id, name }) {
      heartbeat.refresh();
      return write(`${name === undefined ? "" : `event: ${name}\n`}${id === undefined ? "" : `id: ${id}\n`}data: ${data}\n\n`);
    },
    end() {
      clearInterval(heartbeat);
      response.end();
    },
  };
}

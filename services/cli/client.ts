import { type ErrorCode, ServingError } from "../shared/runtime/errors.ts";
import { Absence, type OnAway } from "./absence.ts";
import { type FormFile, formOf } from "./form.ts";

export interface ServerEvent {
  readonly name: string;
  /** Where a reader goes on behind it; "" for one without. */
  readonly id: string;
  readonly data: string;
}

/** The API as the commands use it. */
export interface Client {
  readonly url: string;
  get(path: string): Promise<unknown>;
  post(path: string, body?: unknown, headers?: Readonly<Record<string, string>>): Promise<unknown>;
  /** Sends a form with one file, however large. Throws what reading the file throws, if that is a ServingError. */
  send(path: string, fields: Readonly<Record<string, string>>, file: FormFile): Promise<unknown>;
  /** The bytes at `path`, as they come. */
  read(path: string): AsyncIterable<Uint8Array>;
  /** Ends with UNAVAILABLE where nothing comes for `silentMs`, not even a comment, of which `onComment` is told. */
  events(path: string, silentMs: number, onComment?: () => void): AsyncGenerator<ServerEvent>;
}

const ANSWER_MS = 60_000;

/** The API's own words are for programs, which send a header. */
const lacksKey = (url: string, key: string | undefined): string =>
  key === undefined
    ? `${url} lets nobody in without an API key: give yours as LONGSHORE_KEY or with --key`
    : `${url} does not take the API key of LONGSHORE_KEY or --key: it is another cluster's, revoked or mistyped`;

export function openClient(url: string, key: string | undefined): Client {
  if (!URL.canParse(url) || !/^https?:$/.test(new URL(url).protocol))
    throw new ServingError("INVALID_REQUEST", `${url} is no URL of an API; --url takes one like http://127.0.0.1:8000`);
  if (new URL(url).username + new URL(url).password !== "")
    throw new ServingError("INVALID_REQUEST", "the URL of an API has no user and password: give the key as LONGSHORE_KEY or with --key");
  if (!/^[!-~]*$/.test(key ?? ""))
    throw new ServingError(
      "INVALID_REQUEST",
      "the API key of LONGSHORE_KEY or --key holds what no key has: a blank, or a letter beyond ASCII",
    );
  const authorization: Record<string, string> = key === undefined ? {} : { authorization: `Bearer ${key}` };
  const ask = async (path: string, init: RequestInit): Promise<Response> => {
    const headers = { ...authorization, ...(init.headers as Record<string, string> | undefined) };
    const redirect = "error"; // else all that is sent is kept for it
    const response = await fetch(new URL(path, url), { ...init, headers, redirect }).catch((cause) => {
      if (cause.cause instanceof ServingError) throw cause.cause; // of what was to be sent
      if (cause.cause?.message === "unexpected redirect")
        throw new ServingError("INVALID_REQUEST", `${url} sends on to another address; give that one with --url`);
      const why =
        cause.name === "TimeoutError"
          ? `${url} did not answer within ${ANSWER_MS / 1_000} s; \`longshore jobs\` shows what it has taken`
          : `no longshore answers at ${url} (${cause.cause?.code || cause.cause?.message || cause.message}); start one with \`longshore up\`, or name another with --url`;
      throw new ServingError("UNAVAILABLE", why, { cause });
    });
    if (response.status === 401) throw new ServingError("UNAUTHORIZED", lacksKey(url, key));
    if (!response.ok) throw new ServingError(codeOf(response.status), await reason(response));
    return response;
  };
  const read = (response: Response): Promise<unknown> =>
    response.json().catch((cause) => {
      throw new ServingError("UNAVAILABLE", `what ${url} answers is cut off, or no JSON: is a longshore there?`, { cause });
    });
  const get = (path: string, signal?: AbortSignal) => ask(path, signal === undefined ? {} : { signal });
  const timely = () => AbortSignal.timeout(ANSWER_MS);
  const arriving = async function* <T>(chunks: AsyncIterable<T>): AsyncGenerator<T> {
    try {
      yield* chunks;
    } catch (cause) {
      throw new ServingError("UNAVAILABLE", `the connection to ${url} broke; jobs go on without it: \`longshore jobs\` shows them`, {
        cause,
      });
    }
  };
  return {
    url,
    get: async (path) => read(await get(path, timely())),
    post: async (path, body = {}, more = {}) => {
      const headers = { "content-type": "application/json", ...more };
      return read(await ask(path, { method: "POST", headers, body: JSON.stringify(body), signal: timely() }));
    },
    send: async (path, fields, file) => read(await ask(path, { method: "POST", ...formOf(fields, file), duplex: "half" })),
    async *read(path) {
      const { body } = await get(path);
      if (body !== null) yield* arriving(body);
    },
    async *events(path, silentMs, onComment) {
      const silence = new AbortController();
      const timer = setTimeout(() => silence.abort(new DOMException("nothing came", "TimeoutError")), silentMs);
      const heard = new TransformStream<string, string>({
        transform: (text, to) => {
          timer.refresh();
          to.enqueue(text);
        },
      });
      try {
        const { body } = await get(path, silence.signal);
        if (body !== null) yield* parseEvents(arriving(body.pipeThrough(new TextDecoderStream()).pipeThrough(heard)), onComment);
      } finally {
        clearTimeout(timer);
      }
    },
  };
}

/** Of the events of a job, what the commands show. */
export interface JobEvent {
  readonly name: string;
  /** `progress`: prompt tokens. */
  readonly done?: number;
  readonly total?: number;
  /** `handed_over`: tokens computed again because no boundary was stored at the end of what the cache held. */
  readonly recomputed?: number;
  /** Output tokens so far. */
  readonly tokens?: number;
}

/** An API says on a stream that it is there, six times as often unless it was set otherwise: whoever says nothing for so long is asked again. */
const SILENT_MS = 60_000;
/** What the end of a replica, or of its record, says on a stream. */
const PASSING = ["shutting_down", "unavailable"];

interface Following {
  readonly onAway: OnAway;
  readonly silentMs: number;
  /** How long nobody may tell events; 0: they are asked for once. */
  readonly awayMaxMs: number;
}

/** A job's events until it ended, each once: where their stream breaks off it goes on, at whatever replica answers. Throws if none does any more. */
export async function* jobEvents(
  client: Client,
  jobId: string,
  { onAway = () => {}, silentMs = SILENT_MS, awayMaxMs }: Partial<Following> = {},
): AsyncGenerator<JobEvent> {
  let after = "0";
  const absence = new Absence(onAway, undefined, awayMaxMs);
  const answers = () => {
    absence.ended();
    onAway(null);
  };
  for (;;) {
    try {
      const path = `/v1/jobs/${encodeURIComponent(jobId)}/events?after=${after}`;
      for await (const { name, id, data } of client.events(path, silentMs, answers)) {
        const event = JSON.parse(data) as JobEvent & { error?: { message: string; code: string | null } };
        if (event.error !== undefined)
          throw new ServingError(PASSING.includes(event.error.code ?? "") ? "UNAVAILABLE" : "INTERNAL", `${jobId}: ${event.error.message}`);
        if (id !== "") after = id.slice(id.indexOf(":") + 1);
        answers();
        yield { ...event, name };
      }
      return;
    } catch (error) {
      await absence.outlast(error);
    }
  }
}

/** What a refusal means to the commands: what to change, or that it may be tried again. */
const codeOf = (status: number): ErrorCode => CODES[status] ?? (status < 500 ? "INVALID_REQUEST" : "UNAVAILABLE");
const CODES: Readonly<Record<number, ErrorCode>> = {
  401: "UNAUTHORIZED",
  404: "NOT_FOUND",
  408: "REQUEST_TIMEOUT",
  409: "CONFLICT",
  429: "OVERLOADED",
  500: "INTERNAL",
};

async function reason(response: Response): Promise<string> {
  const text = await response.text().catch(() => ""); // who refused may have gone amid his words
  try {
    return (JSON.parse(text) as { error: { message: string } }).error.message;
  } catch {
    return `${response.status} ${response.statusText} ${text.slice(0, 200)}`;
  }
}

/** Server-sent events of a text stream (WHATWG HTML, 9.2.6, without `retry`); of what holds no data, a comment, `onComment` is told. */
export async function* parseEvents(chunks: AsyncIterable<string>, onComment: () => void = () => {}): AsyncGenerator<ServerEvent> {
  let rest = "";
  for await (const chunk of chunks) {
    const blocks = (rest + chunk).split("\n\n");
    rest = blocks.pop()!;
    for (const block of blocks) {
      const fields = block.split("\n").map((line) => /^([a-z]+): ?(.*)$/.exec(line));
      const value = (name: string) => fields.filter((field) => field?.[1] === name).map((field) => field![2]!);
      if (value("data").length > 0)
        yield { name: value("event")[0] ?? "message", id: value("id")[0] ?? "", data: value("data").join("\n") };
      else onComment();
    }
  }
}

/** What the commands read of GET /v1/jobs/{id}. */
interface EndedJob {
  readonly prompt_tokens: number;
  readonly output_tokens: number;
  readonly cache: { readonly matched_tokens: number } | null;
  readonly result: {
    readonly choices?: ReadonlyArray<{ readonly message?: { readonly content: string | null }; readonly text?: string }>;
  } | null;
  readonly partial?: { readonly content: string | null } | null;
  readonly error: { readonly message: string } | null;
}

export interface Answer {
  /** What was said; the result as JSON where that is no text: calls of tools, a response, an Anthropic message. */
  readonly text: string;
  readonly promptTokens: number;
  /** Of these, found in the store. */
  readonly cachedTokens: number;
  readonly answerTokens: number;
}

/** The answer of a job that ended. Throws with the job's own words if it ended in any other way; `onPartial` hears first what text came of it. */
export async function jobAnswer(client: Client, jobId: string, onPartial: (text: string) => void = () => {}): Promise<Answer> {
  const job = (await client.get(`/v1/jobs/${encodeURIComponent(jobId)}`)) as EndedJob;
  const { result, error, cache, partial } = job;
  if (partial?.content) onPartial(partial.content);
  if (error !== null || result === null) throw new ServingError("INTERNAL", `${jobId}: ${error?.message ?? "ended without a result"}`);
  const choice = result.choices?.[0];
  return {
    text: choice?.message?.content ?? choice?.text ?? JSON.stringify(choice?.message ?? result, null, 2),
    promptTokens: job.prompt_tokens,
    cachedTokens: cache?.matched_tokens ?? 0,
    answerTokens: job.output_tokens,
  };
}

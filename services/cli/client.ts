import { type ErrorCode, refusal, ServingError } from "../shared/runtime/errors.ts";
import { type FormFile, formOf } from "./form.ts";
import { parseEvents, type ServerEvent } from "./server-events.ts";

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

export function openClient(url: string, key: string | undefined): Client {
  requireUsable(url, key);
  const authorization: Record<string, string> = key === undefined ? {} : { authorization: `Bearer ${key}` };
  const ask = async (path: string, init: RequestInit): Promise<Response> => {
    const headers = { ...authorization, ...(init.headers as Record<string, string> | undefined) };
    const redirect = "error"; // else all that is sent is kept for it
    const response = await fetch(new URL(path, url), { ...init, headers, redirect }).catch((cause) => {
      throw unanswered(url, cause);
    });
    if (response.status === 401) throw new ServingError("UNAUTHORIZED", lacksKey(url, key));
    if (!response.ok) throw new ServingError(codeOf(response.status), await reason(response));
    return response;
  };
  const read = (response: Response): Promise<unknown> =>
    response.json().catch((cause) => {
      throw new ServingError("UNAVAILABLE", `${url} did not answer with complete JSON: is longshore running there?`, { cause });
    });
  const get = (path: string, signal?: AbortSignal) => ask(path, signal === undefined ? {} : { signal });
  const timely = () => AbortSignal.timeout(ANSWER_MS);
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
      if (body !== null) yield* arriving(url, body);
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
        if (body !== null) yield* parseEvents(arriving(url, body.pipeThrough(new TextDecoderStream()).pipeThrough(heard)), onComment);
      } finally {
        clearTimeout(timer);
      }
    },
  };
}

function requireUsable(url: string, key = ""): void {
  if (!URL.canParse(url) || !/^https?:$/.test(new URL(url).protocol))
    throw refusal(`${url} is not the URL of an API; --url takes one like http://127.0.0.1:8000`);
  if (new URL(url).username + new URL(url).password !== "")
    throw refusal("the URL of the API must not contain a user or password: give the key in LONGSHORE_KEY or --key");
  if (!/^[!-~]*$/.test(key)) throw refusal("the API key in LONGSHORE_KEY or --key contains a space or a non-ASCII character");
}

/** Why `fetch` rejected. */
function unanswered(url: string, error: Error): ServingError {
  const cause = error.cause as NodeJS.ErrnoException | undefined;
  if (cause instanceof ServingError) return cause; // of what was to be sent
  if (cause?.message === "unexpected redirect") return refusal(`${url} redirects to another address; pass that one with --url`);
  const why =
    error.name === "TimeoutError"
      ? `${url} did not answer within ${ANSWER_MS / 1_000} s; \`longshore jobs\` shows the jobs it has accepted`
      : `no longshore answers at ${url} (${cause?.code || cause?.message || error.message}); start one with \`longshore up\`, or name another with --url`;
  return new ServingError("UNAVAILABLE", why, { cause: error });
}

async function* arriving<T>(url: string, chunks: AsyncIterable<T>): AsyncGenerator<T> {
  try {
    yield* chunks;
  } catch (cause) {
    throw new ServingError("UNAVAILABLE", `the connection to ${url} broke; jobs go on without it: \`longshore jobs\` shows them`, {
      cause,
    });
  }
}

/** The API's own words are for programs, which send a header. */
const lacksKey = (url: string, key: string | undefined): string =>
  key === undefined
    ? `${url} requires an API key: give yours in LONGSHORE_KEY or --key`
    : `${url} rejects the API key in LONGSHORE_KEY or --key: it is mistyped, revoked or of another cluster`;

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

import { setTimeout as sleep } from "node:timers/promises";
import { MODEL } from "./cluster.ts";
import type { Job } from "./jobs.ts";

/** Heartbeats come every half second: after this silence a client goes to another replica. */
const SILENCE_MS = 3_000;
/** A whole answer has no heartbeats. */
const WHOLE_MS = 20_000;
const PAUSE_MS = 100;

export interface Reply {
  readonly jobId: string;
  readonly text: string;
  readonly reason: string;
  readonly promptTokens: number;
  readonly completionTokens: number;
  /** Times it had to come back: to another replica, or to the same. */
  readonly returns: number;
}

/**
 * Asks as a careful client would: with an Idempotency-Key, from one replica and then another, and with Last-Event-ID
 * where a stream broke. Throws for an answer that no retry can mend, and after `patienceMs`. `onJob` is called with the
 * job's id whenever a stream of it begins.
 */
export async function ask(apis: readonly string[], job: Job, patienceMs: number, onJob?: (jobId: string) => void): Promise<Reply> {
  const reading = new Reading(job, onJob);
  const endMs = performance.now() + patienceMs;
  const first = job.seed % apis.length;
  for (let tries = 0; ; tries++) {
    try {
      const done = await reading.goOn(apis[(first + tries) % apis.length]!);
      if (done !== null) return { ...done, returns: tries };
    } catch (error) {
      if (error instanceof Wrong) throw error;
      if (performance.now() > endMs) throw new Error(`no answer in ${patienceMs} ms; at last: ${String(error)}`, { cause: error });
    }
    await sleep(PAUSE_MS);
  }
}

/** An answer that no retry can mend. */
class Wrong extends Error {}

interface Chunk {
  readonly choices?: readonly { readonly text: string; readonly finish_reason: string | null }[];
  readonly usage?: Usage | null;
  readonly error?: { readonly message: string; readonly code: string };
}
interface Usage {
  readonly prompt_tokens: number;
  readonly completion_tokens: number;
}

/** One answer, read over as many connections as it takes. */
class Reading {
  readonly #job: Job;
  readonly #onJob: ((jobId: string) => void) | undefined;
  #jobId: string | null = null;
  #lastId: string | null = null;
  /** `#text` is read up to the event that `#lastId` names; what came after it (`#unsure`) comes again. */
  #text = "";
  #unsure = "";
  #reason = "";
  #usage: Usage | null = null;

  constructor(job: Job, onJob: ((jobId: string) => void) | undefined) {
    this.#job = job;
    this.#onJob = onJob;
  }

  /** The reply once it is whole; null if the connection ended early. */
  async goOn(api: string): Promise<Omit<Reply, "returns"> | null> {
    const { way } = this.#job;
    if (way === "whole") return this.#whole(api);
    const ears = new AbortController();
    const silence = setTimeout(() => ears.abort(new Error(`${api} fell silent`)), SILENCE_MS);
    try {
      if (way === "detached" && this.#jobId === null) await this.#submit(api, ears.signal);
      silence.refresh();
      const response =
        this.#jobId === null
          ? await this.#post(api, "/v1/completions", this.#request(true), ears.signal)
          : await this.#resume(api, ears.signal);
      this.#jobId = response.headers.get("x-job-id")!;
      this.#onJob?.(this.#jobId);
      this.#unsure = "";
      return await this.#listen(response, () => silence.refresh());
    } finally {
      clearTimeout(silence);
      ears.abort();
    }
  }

  async #whole(api: string): Promise<Omit<Reply, "returns">> {
    const response = await this.#post(api, "/v1/completions", this.#request(false), AbortSignal.timeout(WHOLE_MS));
    const { choices, usage } = (await response.json()) as Required<Chunk>;
    return replyOf(response.headers.get("x-job-id")!, choices[0]!.text, choices[0]!.finish_reason!, usage!);
  }

  async #submit(api: string, signal: AbortSignal): Promise<void> {
    const response = await this.#post(api, "/v1/jobs", { kind: "completion", request: this.#request(true) }, signal);
    this.#jobId = ((await response.json()) as { id: string }).id;
  }

  #request(stream: boolean): object {
    const { ids, maxTokens, seed } = this.#job;
    return { model: MODEL, prompt: [...ids], max_tokens: maxTokens, seed, temperature: 1, stream, stream_options: { include_usage: true } };
  }

  #post(api: string, path: string, body: object, signal: AbortSignal): Promise<Response> {
    const headers = { "content-type": "application/json", "idempotency-key": this.#job.name };
    return understood(fetch(`${api}${path}`, { method: "POST", headers, body: JSON.stringify(body), signal }));
  }

  #resume(api: string, signal: AbortSignal): Promise<Response> {
    const headers = this.#lastId === null ? {} : { "last-event-id": this.#lastId };
    return understood(fetch(`${api}/v1/jobs/${this.#jobId}/stream`, { headers, signal }));
  }

  async #listen(response: Response, heard: () => void): Promise<Omit<Reply, "returns"> | null> {
    for await (const { id, data } of eventsOf(response, heard)) {
      if (data === "[DONE]") return replyOf(this.#jobId!, this.#text, this.#reason, this.#usage!);
      const { choices = [], usage, error } = JSON.parse(data) as Chunk;
      if (error !== undefined) throw mendable(error.code) ? new Error(error.message) : new Wrong(`${error.code}: ${error.message}`);
      this.#unsure += choices[0]?.text ?? "";
      this.#reason = choices[0]?.finish_reason ?? this.#reason;
      this.#usage = usage ?? this.#usage;
      if (id !== null) this.#sure(id);
    }
    return null;
  }

  #sure(id: string): void {
    if (this.#lastId !== null && sequenceOf(id) <= sequenceOf(this.#lastId)) throw new Wrong(`event ${id} came after ${this.#lastId}`);
    this.#lastId = id;
    this.#text += this.#unsure;
    this.#unsure = "";
  }
}

const sequenceOf = (id: string): number => Number(id.slice(id.indexOf(":") + 1));

const replyOf = (jobId: string, text: string, reason: string, usage: Usage): Omit<Reply, "returns"> => ({
  jobId,
  text,
  reason,
  promptTokens: usage.prompt_tokens,
  completionTokens: usage.completion_tokens,
});

const mendable = (code: string): boolean => ["unavailable", "shutting_down", "rate_limit_exceeded", "overloaded"].includes(code);

async function understood(answer: Promise<Response>): Promise<Response> {
  const response = await answer;
  if (response.ok) return response;
  const text = await response.text();
  const words = `${response.status} ${text.slice(0, 300)}`;
  throw response.status === 429 || response.status === 503 ? new Error(words) : new Wrong(words);
}

/** Server-sent events; `heard` is called with every sign of life, comments included. */
async function* eventsOf(response: Response, heard: () => void): AsyncGenerator<{ readonly id: string | null; readonly data: string }> {
  let rest = "";
  for await (const chunk of response.body!.pipeThrough(new TextDecoderStream())) {
    heard();
    const blocks = (rest + chunk).split("\n\n");
    rest = blocks.pop()!;
    for (const block of blocks) {
      const data = /^data: (.*)$/m.exec(block)?.[1];
      if (data !== undefined) yield { id: /^id: (.*)$/m.exec(block)?.[1] ?? null, data };
    }
  }
}

import { readFileSync } from "node:fs";
import fc from "fast-check";
import { expect, test } from "vitest";
import { generated } from "../../../../proto/generate.ts";
import {
  decodeItem,
  decodeLive,
  decodeRecord,
  encodeItem,
  encodeLive,
  encodeRecord,
  encodeRequest,
  RECORD_BYTES_MAX,
} from "../../../../services/shared/bus/codec.ts";
import type { JobEvent, JobRequest, LogRecord } from "../../../../services/shared/bus/events.ts";
import { finished, request } from "../../../support/bus.ts";

const count = fc.maxSafeNat();
const text = fc.string({ unit: "binary" });
const id = fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 1 });
const number = fc.double({ noNaN: true });

const REQUIRED = [
  ...["model", "tenant", "lane", "prompt", "promptTokens", "maxTokens", "sampling", "stop", "stopIds", "deadlineMs", "detached", "view"],
] as Exclude<keyof JobRequest, "constraint">[];
const requests: fc.Arbitrary<JobRequest> = fc.record(
  {
    model: text,
    tenant: text,
    lane: fc.constantFrom("interactive", "surplus", "batch"),
    prompt: fc.oneof(fc.record({ ids: fc.array(id).map((ids) => Int32Array.from(ids)) }), fc.record({ payload: text })),
    promptTokens: count,
    maxTokens: count,
    sampling: fc.record(
      {
        temperature: number,
        topP: number,
        topK: id,
        minP: number,
        seed: fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
        bias: fc.record({ ids: fc.array(id), values: fc.array(number) }),
        presencePenalty: number,
        frequencyPenalty: number,
        topLogprobs: id,
      },
      { requiredKeys: ["temperature", "topP", "topK", "minP", "seed"] },
    ),
    constraint: fc.record({ schema: text, after: id, instead: fc.array(id, { minLength: 1 }), blank: id }, { requiredKeys: ["schema"] }),
    stop: fc.array(text),
    stopIds: fc.array(id),
    deadlineMs: count,
    detached: fc.boolean(),
    view: text,
  },
  { requiredKeys: REQUIRED },
);

const usages = fc.record({ promptTokens: count, completionTokens: count, cachedTokens: count });

const logprobs = fc.record({ logprob: number, top: fc.array(fc.record({ id, logprob: number })) });

const reasons = fc.constantFrom("stop" as const, "length" as const);

const events: fc.Arbitrary<JobEvent> = fc.oneof(
  fc.record({ type: fc.constant("submitted" as const), request: requests }),
  fc.record({ type: fc.constant("claimed" as const), worker: text }),
  fc.record(
    { type: fc.constant("progress" as const), done: count, total: count, stored: count, cached: count },
    { requiredKeys: ["type", "done", "total", "stored"] },
  ),
  fc.record({ type: fc.constant("tokens" as const), first: count, ids: fc.array(id) }),
  fc.record({ type: fc.constant("tokens" as const), first: count, ids: fc.array(id), logprobs: fc.array(logprobs, { minLength: 1 }) }),
  fc.record(
    { type: fc.constant("handed_over" as const), token: id, boundary: count, cached: count, recomputed: count, logprobs },
    { requiredKeys: ["type", "token", "boundary", "cached", "recomputed"] },
  ),
  fc.record({ type: fc.constant("sent_back" as const), reason: text }),
  fc.record({ type: fc.constant("released" as const), reason: text, excused: fc.boolean() }, { requiredKeys: ["type", "reason"] }),
  fc.record({ type: fc.constant("finished" as const), reason: reasons, usage: usages }),
  fc.record({
    type: fc.constant("finished" as const),
    reason: reasons,
    usage: usages,
    tokens: fc.record({ first: count, ids: fc.array(id) }),
  }),
  fc.record({ type: fc.constant("failed" as const), code: text, message: text }),
  fc.record({ type: fc.constant("cancelled" as const), by: text }),
  fc.record({ type: fc.constant("expired" as const) }),
);

const records: fc.Arbitrary<LogRecord> = fc.record({
  jobId: text,
  sequence: count,
  previous: count,
  epoch: count,
  phase: fc.constantFrom("prefill", "decode"),
  attempt: count,
  tokenCount: count,
  atMs: count,
  event: events,
});

test.each(Object.entries(generated))("the committed definitions are what %s.proto says", (name, text) => {
  expect(readFileSync(new URL(`../../../../proto/gen/${name}.ts`, import.meta.url), "utf8")).toBe(text());
});

test("every record comes back exactly, from the log and from the live fan-out", () => {
  fc.assert(
    fc.property(records, (record) => {
      expect(decodeRecord(record.jobId, record.sequence, encodeRecord(record))).toEqual(record);
      expect(decodeLive(record.jobId, encodeLive(record))).toEqual(record);
    }),
    { numRuns: 500 },
  );
});

test("every work item comes back exactly, with the log of its job where that fits", () => {
  const items = fc.record({ jobId: text, promptTokens: count, follows: count }, { requiredKeys: ["jobId", "promptTokens"] });
  fc.assert(
    fc.property(items, fc.array(records, { minLength: 1, maxLength: 3 }), (item, others) => {
      expect(decodeItem(encodeItem(item))).toEqual(item);
      const log = others.map((record) => ({ ...record, jobId: item.jobId }));
      const bytes = encodeItem({ ...item, log });
      expect(bytes.length).toBeLessThanOrEqual(4_096);
      const read = decodeItem(bytes);
      expect(read).toEqual("log" in read ? { ...item, log } : item);
    }),
  );
});

test("a log that does not fit a work item, or that nobody can read, leaves the item as it is", () => {
  const item = { jobId: "job-1", promptTokens: 3 };
  const long = { ...record, event: { type: "tokens", first: 0, ids: Array.from({ length: 4_096 }, () => 1) } } as const;
  expect(decodeItem(encodeItem({ ...item, log: [long] }))).toEqual(item);
  const unknown = Buffer.from([0x2a, 0x02, 0x08, 0x2a]); // field 5: a record with a sequence and no event
  expect(decodeItem(Buffer.concat([encodeItem(item), unknown]))).toEqual(item);
});

test("whoever passes a log on passes on the bytes that came, with what a newer version wrote in them", () => {
  const item = { jobId: "job-1", promptTokens: 3 };
  const newer = Buffer.concat([encodeLive({ ...record, jobId: "job-1" }), Buffer.from([0xfa, 0x07, 0x01, 0x2a])]); // field 127: a byte
  const read = decodeItem(Buffer.concat([encodeItem(item), Buffer.from([0x2a, newer.length]), newer]));
  expect(read).toEqual({ ...item, log: [{ ...record, jobId: "job-1" }] });
  expect(Buffer.from(encodeItem({ ...read, follows: 1 })).includes(newer)).toBe(true);
});

test("requests have equal bytes exactly when they are equal", () => {
  fc.assert(
    fc.property(requests, requests, (one, other) => {
      const again = { ...one, sampling: { ...one.sampling } };
      expect(encodeRequest(again)).toEqual(encodeRequest(one));
      const same = JSON.stringify(toPlain(one)) === JSON.stringify(toPlain(other));
      expect(Buffer.compare(encodeRequest(one), encodeRequest(other)) === 0).toBe(same);
    }),
  );
});

const record: LogRecord = {
  jobId: "job-1",
  sequence: 42,
  previous: 41,
  epoch: 1,
  phase: "decode",
  attempt: 0,
  tokenCount: 2,
  atMs: 5,
  event: finished,
};

test("bytes that are not a record are an error that names job and sequence, whatever they are", () => {
  expect(() => decodeRecord("job-1", 42, new Uint8Array())).toThrow("event 42 of job-1");
  expect(() => decodeRecord("job-1", 42, encodeRecord(record).subarray(0, -1))).toThrow("event 42 of job-1");
  expect(() => decodeRecord("job-1", 42, new Uint8Array(RECORD_BYTES_MAX + 1))).toThrow("event 42 of job-1");
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
      try {
        decodeRecord("job-1", 42, bytes);
      } catch (error) {
        expect(error).toMatchObject({ code: "DAMAGED", message: expect.stringContaining("event 42 of job-1") });
      }
    }),
  );
});

test("what is larger than anything that is written is not taken apart", () => {
  /** `bytes` and a field of a newer program behind them, `size` bytes together. */
  const filled = (bytes: Uint8Array, size: number) => {
    const field = size - bytes.length - 4; // its own length in two or three bytes
    const head = [...varint(900 * 8 + 2), ...varint(field - (field > 16_383 ? 1 : 0))];
    const whole = Buffer.concat([bytes, Buffer.from(head), Buffer.alloc(size - bytes.length - head.length)]);
    expect(whole).toHaveLength(size);
    return whole;
  };
  const item = { jobId: "job-1", promptTokens: 3 };
  const readers = [
    [RECORD_BYTES_MAX, encodeRecord(record), (bytes: Uint8Array) => decodeRecord("job-1", 42, bytes), record],
    [RECORD_BYTES_MAX, encodeLive(record), (bytes: Uint8Array) => decodeLive("job-1", bytes), record],
    [4_096, encodeItem(item), decodeItem, item],
  ] as const;
  for (const [most, bytes, read, value] of readers) {
    expect(read(filled(bytes, most))).toEqual(value);
    expect(() => read(filled(bytes, most + 1))).toThrow(
      expect.objectContaining({ code: "DAMAGED", cause: new Error(`it has ${most + 1} bytes, more than the ${most} allowed`) }),
    );
  }
});

test("fields of a newer program are ignored, an event of a newer program is an error", () => {
  const field = (number: number) => Buffer.from([...varint(number * 8 + 2), 1, 0x61]);
  expect(decodeRecord("job-1", 42, Buffer.concat([encodeRecord(record), field(900)]))).toEqual(record);
  expect(() => decodeRecord("job-1", 42, field(901))).toThrow("a newer version wrote it");
});

test("what does not fit is TOO_LARGE before it travels", () => {
  const huge = request({ prompt: { ids: new Int32Array(RECORD_BYTES_MAX) } });
  expect(() => encodeRecord({ ...record, event: { type: "submitted", request: huge } })).toThrow(
    expect.objectContaining({ code: "TOO_LARGE" }),
  );
  const wordy = request({ view: "x".repeat(65_537) });
  expect(() => encodeRequest(wordy)).toThrow(expect.objectContaining({ code: "TOO_LARGE" }));
});

const varint = (value: number): number[] => (value < 128 ? [value] : [(value & 127) | 128, ...varint(value >> 7)]);

const toPlain = (value: JobRequest): unknown => ({
  ...value,
  prompt: "ids" in value.prompt ? [...value.prompt.ids] : value.prompt.payload,
  sampling: JSON.stringify(value.sampling, (_, each) => (typeof each === "object" ? each : Object.is(each, -0) ? "-0" : String(each))),
});

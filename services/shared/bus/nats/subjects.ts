import { refusal } from "../../runtime/errors.ts";
import { untoken } from "../name.ts";

/** The text that the last token of a subject stands for. */
export const lastToken = (subject: string): string => untoken(subject.slice(subject.lastIndexOf(".") + 1));

/** Where things are under one prefix. Streams of buckets are named as the `nats` command line tool expects them. */
export function names(prefix: string) {
  if (!/^[a-z][a-z0-9_-]{0,39}$/.test(prefix)) {
    throw refusal(`${prefix} cannot be a prefix; use up to 40 of a-z, 0-9, - and _, beginning with a letter`);
  }
  const stream = (name: string) => `${prefix}_${name}`.toUpperCase();
  const bucket = (name: string) => ({ stream: `KV_${prefix}_${name}`, subject: `$KV.${prefix}_${name}` });
  const objects = (name: string) => ({ bucket: `${prefix}_${name}`, stream: `OBJ_${prefix}_${name}`, subject: `$O.${prefix}_${name}` });
  return {
    log: { stream: stream("log"), subject: `${prefix}.log`, clock: `${prefix}.clock` },
    live: `${prefix}.live`,
    cancel: `${prefix}.cancel`,
    prefill: { stream: stream("prefill"), subject: `${prefix}.prefill` },
    decode: { stream: stream("decode"), subject: `${prefix}.decode` },
    beats: bucket("beats"),
    keys: bucket("keys"),
    marks: bucket("marks"),
    jobs: bucket("jobs"),
    access: bucket("access"),
    documents: bucket("documents"),
    ends: bucket("ends"),
    payloads: objects("payloads"),
    files: objects("files"),
  } as const;
}

export type Names = ReturnType<typeof names>;

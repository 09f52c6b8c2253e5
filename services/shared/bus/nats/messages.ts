import type { Msg } from "nats";
import { refusal } from "../../runtime/errors.ts";
import type { Entry } from "../journal.ts";

/** A message as it lies in a stream. */
export interface Stored extends Entry {
  readonly subject: string;
}

export interface Placement {
  /** The subject's last sequence must be this; 0: nothing may be there. */
  readonly after?: number;
  /** Replaces what the subject held before. */
  readonly replace?: boolean;
}

/** True for a status message of the server in an inbox: no messages, request over, consumer gone. */
export const isStatus = (message: Msg): boolean => message.headers !== undefined && message.headers.code > 0;

/** Reads `$JS.ACK.[domain.account.]stream.consumer.deliveries.sequence.consumer sequence.time.pending[.random]`. */
export function deliveryOf(reply: string): { readonly deliveries: number; readonly sequence: number; readonly storedMs: number } {
  const tokens = reply.split(".");
  const [deliveries, sequence, , timeNs] = tokens.slice(tokens.length > 9 ? 6 : 4);
  return { deliveries: Number(deliveries), sequence: Number(sequence), storedMs: Math.floor(Number(timeNs) / 1e6) };
}

/** Written by hand: the library's headers check, sort and copy each, which takes as long as the rest of an append. */
export function appendHeaders(id: string, { after, replace }: Placement): Uint8Array {
  if (/[\r\n]/.test(id)) throw refusal("an id of the record must be one line");
  const expected = after === undefined ? "" : `Nats-Expected-Last-Subject-Sequence: ${after}\r\n`;
  const rollup = replace === true ? "Nats-Rollup: sub\r\n" : "";
  return Buffer.from(`NATS/1.0\r\nNats-Msg-Id: ${id}\r\n${expected}${rollup}\r\n`);
}

/** A message in an answer to STREAM.MSG.GET. */
export interface RawMessage {
  readonly subject: string;
  readonly seq: number;
  readonly time: string;
  readonly hdrs?: string;
  readonly data?: string;
}

export const fromApi = ({ subject, seq, time, hdrs = "", data = "" }: RawMessage): Stored => ({
  subject,
  sequence: seq,
  storedMs: Date.parse(time),
  id: /^Nats-Msg-Id: *(.*)\r$/m.exec(Buffer.from(hdrs, "base64").toString("utf8"))?.[1] ?? "",
  bytes: Buffer.from(data, "base64"),
});

export const fromDirect = ({ headers: all, data }: Msg): Stored => ({
  subject: all?.get("Nats-Subject") ?? "",
  sequence: Number(all?.get("Nats-Sequence")),
  storedMs: Date.parse(all?.get("Nats-Time-Stamp") ?? ""),
  id: all?.get("Nats-Msg-Id") ?? "",
  bytes: data,
});

export function fromConsumer({ subject, headers: all, data, reply }: Msg): Stored {
  const { sequence, storedMs } = deliveryOf(reply ?? "");
  return { subject, sequence, storedMs, id: all?.get("Nats-Msg-Id") ?? "", bytes: data };
}

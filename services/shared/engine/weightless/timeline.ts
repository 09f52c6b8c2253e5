import { refusal } from "../../runtime/errors.ts";
import { joined } from "../../runtime/joined.ts";
import type { Memory } from "../../runtime/memory.ts";
import type { Sampling, SequenceStart } from "../engine.ts";

/**
 * What a weightless sequence knows. It has the two kinds of memory of the real model: a window of the last tokens,
 * which a replay of `windowTokens` tokens rebuilds exactly, and one stored row of 4 bytes a token, which depends on the
 * window and on every row before it.
 */
export interface Timeline {
  position: number;
  /** Before this position the window is incomplete. */
  exactFrom: number;
  /** Hash of the rows before `position`. */
  rowsHash: number;
  /** Polynomial hash of the last `windowTokens` ids, and those ids, plus 1, by position modulo `windowTokens`. */
  windowHash: number;
  readonly window: Uint32Array;
  readonly segmentTokens: number;
  /** References to the sealed segments this sequence stands on. */
  readonly pages: Memory[];
  /** Rows known before they are computed: imported segments, and the rows a boundary brought. */
  stored: Uint32Array;
  /** Rows of the segment that `position` lies in. */
  tail: number[];
  /** How often each id occurs in the answer that steps have fed. */
  readonly counts: Map<number, number>;
}

export const fresh = (segmentTokens: number, windowTokens: number): Timeline => ({
  position: 0,
  exactFrom: 0,
  rowsHash: 1,
  windowHash: 0,
  window: new Uint32Array(windowTokens),
  segmentTokens,
  pages: [],
  stored: new Uint32Array(0),
  tail: [],
  counts: new Map(),
});

/** Continues `timeline` (a fresh one) after stored state, by the rules of Engine.open. */
export function restore(timeline: Timeline, { segments, boundary }: SequenceStart): void {
  const { segmentTokens, window } = timeline;
  const end = segments.length * segmentTokens;
  const rows = segments.map(({ bytes }) => rowsOf(bytes));
  if (boundary === null) {
    timeline.position = Math.max(0, end - window.length);
    timeline.exactFrom = timeline.position === 0 ? 0 : end;
  } else {
    const { position, rows: tail, ids } = parseBoundary(boundary.bytes, segmentTokens, window.length);
    if (position !== boundary.position) throw refusal(`the boundary is of position ${position}, not ${boundary.position}`);
    if (position - (position % segmentTokens) > end) throw refusal(`a boundary at ${position} needs more than ${segments.length} segments`);
    if (position > end) rows.push(tail);
    timeline.position = position;
    timeline.exactFrom = position;
    for (let at = position - ids.length; at < position; at++) slide(timeline, at, ids[at - (position - ids.length)]!);
  }
  timeline.stored = joined(Uint32Array, rows);
  for (let at = 0; at < timeline.position; at++) addRow(timeline, at, timeline.stored[at]!);
}

/** Runs `ids` and returns the segments they completed. Stored rows are read, not computed. */
export function extend(timeline: Timeline, ids: ArrayLike<number>, vocabSize: number): { index: number; rows: Uint8Array }[] {
  const sealed: { index: number; rows: Uint8Array }[] = [];
  for (let i = 0; i < ids.length; i++) {
    const id = ids[i]!;
    const at = timeline.position;
    if (!(id >= 0 && id < vocabSize)) throw refusal(`token id ${id} is not in a vocabulary of ${vocabSize}`);
    slide(timeline, at, id);
    const isStored = at < timeline.stored.length;
    const full = addRow(timeline, at, isStored ? timeline.stored[at]! : mix(mix(timeline.rowsHash, timeline.windowHash), at));
    timeline.position++;
    if (full !== null && !isStored) sealed.push({ index: Math.floor(at / timeline.segmentTokens), rows: bytesOf(full) });
  }
  return sealed;
}

export interface Vocabulary {
  readonly vocabSize: number;
  readonly eosId: number;
  readonly eosOneIn: number;
}

/**
 * `topK` limits the draw to that many ids, so that answers repeat themselves. Throws INVALID_REQUEST inside a replay.
 */
export function drawFrom(timeline: Timeline, sampling: Sampling, { vocabSize, eosId, eosOneIn }: Vocabulary): number {
  checkExact(timeline);
  const seed = sampling.temperature === 0 ? 0n : sampling.seed;
  const low = Number(seed & 0xffff_ffffn);
  const high = Number((seed >> 32n) & 0xffff_ffffn);
  const hash = [timeline.windowHash, timeline.position, low, high].reduce(mix, timeline.rowsHash);
  if (eosOneIn > 0 && mix(hash, 1) % eosOneIn === 0) return eosId;
  const id = mix(hash, 2) % Math.min(sampling.topK || vocabSize, vocabSize);
  return id === eosId ? (id + 1) % vocabSize : id;
}

/**
 * For draws that need more than a hash: a logit of 0 to 8 for every token, from what the sequence holds. Throws
 * INVALID_REQUEST inside a replay.
 */
export function logitsOf(timeline: Timeline, { vocabSize, eosId, eosOneIn }: Vocabulary): Float32Array {
  checkExact(timeline);
  const hash = [timeline.windowHash, timeline.position].reduce(mix, timeline.rowsHash);
  const logits = Float32Array.from({ length: vocabSize }, (_, id) => mix(hash, id) / 2 ** 29);
  logits[eosId] = eosOneIn > 0 && mix(hash, vocabSize) % eosOneIn === 0 ? 100 : -100;
  return logits;
}

/**
 * u32le: position, rows after the last whole segment, the last ids (as many as the window holds). Throws
 * INVALID_REQUEST inside a replay.
 */
export function boundaryOf(timeline: Timeline): Uint8Array {
  checkExact(timeline);
  const { position, tail, window } = timeline;
  const from = Math.max(0, position - window.length);
  const ids = Array.from({ length: position - from }, (_, i) => window[(from + i) % window.length]! - 1);
  return bytesOf([position, ...tail, ...ids]);
}

function checkExact({ position, exactFrom }: Timeline): void {
  if (position < exactFrom) refuse(`the replay is exact from ${exactFrom} on, and this is ${position}`);
}

function parseBoundary(bytes: Uint8Array, segmentTokens: number, windowTokens: number) {
  const words = bytes.length % 4 === 0 && bytes.length > 0 ? rowsOf(bytes) : refuse(`a boundary of ${bytes.length} bytes`);
  const position = words[0]!;
  const rowCount = position % segmentTokens;
  const idCount = Math.min(position, windowTokens);
  if (words.length !== 1 + rowCount + idCount) refuse(`a boundary of ${bytes.length} bytes for position ${position}`);
  return { position, rows: words.slice(1, 1 + rowCount), ids: words.slice(1 + rowCount) };
}

/** Adds the row at `at`; returns the rows of its segment if it completed one. */
function addRow(timeline: Timeline, at: number, row: number): readonly number[] | null {
  timeline.rowsHash = mix(timeline.rowsHash, row);
  timeline.tail.push(row);
  if ((at + 1) % timeline.segmentTokens !== 0) return null;
  const full = timeline.tail;
  timeline.tail = [];
  return full;
}

const BASE = 0x01000193;

/** Keeps the window hash exactly that of the last `window.length` ids: subtracts what leaves the window. */
function slide(timeline: Timeline, at: number, id: number): void {
  const { window } = timeline;
  const gone = Math.imul(window[at % window.length]!, power(window.length));
  timeline.windowHash = (Math.imul(timeline.windowHash, BASE) + id + 1 - gone) >>> 0;
  window[at % window.length] = id + 1;
}

const powers = new Map<number, number>();
function power(exponent: number): number {
  let value = powers.get(exponent);
  if (value === undefined) {
    value = 1;
    for (let i = 0; i < exponent; i++) value = Math.imul(value, BASE);
    powers.set(exponent, value);
  }
  return value;
}

/** 32 bits that depend on every bit of both arguments. */
function mix(a: number, b: number): number {
  let z = Math.imul(a ^ Math.imul(b + 0x9e3779b9, 0x85ebca6b), 0xc2b2ae35) >>> 0;
  z = Math.imul(z ^ (z >>> 16), 0x21f0aaad);
  z = Math.imul(z ^ (z >>> 15), 0x735a2d97);
  return (z ^ (z >>> 15)) >>> 0;
}

function rowsOf(bytes: Uint8Array): Uint32Array {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return Uint32Array.from({ length: bytes.length / 4 }, (_, i) => view.getUint32(4 * i, true));
}

function bytesOf(words: readonly number[]): Uint8Array {
  const bytes = new Uint8Array(4 * words.length);
  const view = new DataView(bytes.buffer);
  for (let i = 0; i < words.length; i++) view.setUint32(4 * i, words[i]!, true);
  return bytes;
}

const refuse = (message: string): never => {
  throw refusal(message);
};

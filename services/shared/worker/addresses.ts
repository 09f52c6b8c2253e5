import type { EngineInfo } from "../engine/engine.ts";
import type { SegmentKey, ValueHead } from "../segments/contract.ts";
import { boundaryKey, type KeySpace, nextSegmentKey } from "../segments/keys.ts";

/** The key of a stored value, and the head its bytes must carry. */
export interface Address {
  readonly key: SegmentKey;
  readonly head: ValueHead;
}

/** Store addresses of one sequence's segments and boundaries. Callers ask for none past the last id. */
export class Addresses {
  readonly #info: EngineInfo;
  readonly #space: KeySpace;
  readonly #ids: Int32Array;
  readonly #keys: SegmentKey[] = [];

  /** Holds `ids` by reference: they may be filled in later, but before a key over them is asked for. */
  constructor(info: EngineInfo, space: KeySpace, ids: Int32Array) {
    this.#info = info;
    this.#space = space;
    this.#ids = ids;
  }

  /** Key of a whole segment. */
  key(index: number): SegmentKey {
    const { segmentTokens } = this.#info;
    while (this.#keys.length <= index) {
      const from = this.#keys.length * segmentTokens;
      this.#keys.push(nextSegmentKey(this.#space, this.#keys.at(-1) ?? null, this.#ids.subarray(from, from + segmentTokens)));
    }
    return this.#keys[index]!;
  }

  segment(index: number): Address {
    const { segmentTokens } = this.#info;
    return { key: this.key(index), head: this.#head("segment", index * segmentTokens, segmentTokens) };
  }

  boundary(position: number): Address {
    const { segmentTokens } = this.#info;
    const whole = Math.floor(position / segmentTokens);
    const parent = whole === 0 ? null : this.key(whole - 1);
    const key = boundaryKey(this.#space, parent, this.#ids.subarray(whole * segmentTokens, position), position);
    return { key, head: this.#head("boundary", position, 0) };
  }

  #head(kind: ValueHead["kind"], firstToken: number, tokenCount: number): ValueHead {
    const { fingerprint, kvLayout, layers } = this.#info;
    return { kind, fingerprint, layout: kvLayout, firstToken, tokenCount, firstLayer: 0, layerCount: layers };
  }
}

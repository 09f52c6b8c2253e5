import type { Memory } from "../../runtime/memory.ts";

/** Heap memory with the references of native memory, counted, so that a test sees what was not released. */
export interface Counted {
  readonly held: number;
  hold(bytes: Uint8Array): Memory;
}

export function countedMemory(): Counted {
  let held = 0;
  const hold = (bytes: Uint8Array): Memory => {
    let mine = true;
    held++;
    return {
      bytes,
      release: () => {
        if (mine) held--;
        mine = false;
      },
    };
  };
  return {
    get held() {
      return held;
    },
    hold,
  };
}

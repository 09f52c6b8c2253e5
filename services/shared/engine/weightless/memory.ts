import type { Memory } from "../../runtime/memory.ts";

/** Memory of the heap with the manners of native memory: counted references, so that a test sees what nobody gave back. */
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

import * as door from "../../../services/shared/engine/kernels.ts";

/**
 * Native memory made while a case is built and run; `releaseAll` gives it back, so that a test can count what leaked.
 */
const owned: { release(): void }[] = [];

const own = (t: door.Tensor): door.Tensor => {
  owned.push(t.buffer);
  return t;
};

export const zeros: typeof door.zeros = (dtype, shape) => own(door.zeros(dtype, shape));
export const from: typeof door.from = (dtype, shape, values) => own(door.from(dtype, shape, values));

export function createList(): door.TensorList {
  const list = new door.TensorList();
  owned.push(list);
  return list;
}

export function releaseAll(): void {
  for (const thing of owned.splice(0)) thing.release();
}

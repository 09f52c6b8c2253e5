import { afterAll, afterEach, describe, expect, test } from "vitest";
import { type Dtype, listPaths, openBackend, reshape, rows, type TensorList, tensor } from "../../services/shared/engine/kernels.ts";
import { createList, releaseAll, zeros } from "../support/kernels/owned.ts";

afterEach(releaseAll);

/** Paths read and write in different orders: they agree only where no output lies in what is read. */
describe.each(listPaths().filter((path) => path.available))(
  "on path $name an output may not lie in what the call reads of a list:",
  ({ name }) => {
    const backend = openBackend({ path: name, threads: 2 });
    const stream = backend.createStream();
    afterAll(() => {
      stream.release();
      backend.close();
    });

    function refused(call: () => void, words: string): void {
      call();
      expect(() => stream.wait()).toThrow(words);
    }

    function taken(call: () => void): void {
      call();
      stream.wait();
    }

    /** Three pages of 64 bytes in one buffer, 64 bytes before and behind them, and what may be laid over them. */
    function pagesOf64(): { list: TensorList; at: (offset: number, dtype: Dtype, shape: readonly number[]) => ReturnType<typeof tensor> } {
      const [all, list] = [zeros("U8", [5, 64]), createList()];
      for (let page = 1; page < 4; page++) list.append(reshape(rows(all, page, 1), [64]));
      return { list, at: (offset, dtype, shape) => tensor(all.buffer, dtype, shape, offset) };
    }

    test("select, whose pages with visible rows are the first two", () => {
      const { list, at } = pagesOf64();
      const where = { start: 5, m: 1, keyLayout: "f32", dim: 4, pageOffset: 0, rowsPerPage: 4, scale: 1 } as const;
      const call = { iq: zeros("U8", [1, 1, 16]), iw: zeros("F32", [1, 1]), keys: list, ...where };
      const [sel, scores] = [zeros("I32", [1, 2]), zeros("F32", [1, 6])];
      refused(() => stream.select({ ...call, sel: at(60, "I32", [1, 2]), scores: null }), "SELECT: sel overlaps page 0");
      refused(() => stream.select({ ...call, sel: at(188, "I32", [1, 2]), scores }), "SELECT: sel overlaps page 1");
      refused(() => stream.select({ ...call, sel, scores: at(44, "F32", [1, 6]) }), "SELECT: scores overlaps page 0");
      refused(
        () => stream.select({ ...call, sel: at(0, "I32", [1, 2]), scores: at(128, "F32", [1, 6]) }),
        "SELECT: scores overlaps page 1",
      );
      taken(() => stream.select({ ...call, sel: at(56, "I32", [1, 2]), scores: at(192, "F32", [1, 6]) }));
    });

    test("attention, whose pages with visible rows are the first two", () => {
      const { list, at } = pagesOf64();
      const where = { start: 5, first: 0, m: 1, kvLayout: "f32", rope: 0, pageOffset: 0, rowsPerPage: 4, scale: 1 } as const;
      const [fresh, ring] = [zeros("U8", [1, 16]), zeros("U8", [1, 16])];
      const call = { q: zeros("F32", [1, 1, 4]), fresh, ring, sink: zeros("F32", [1]), sel: null, pages: list, ...where };
      refused(() => stream.attention({ ...call, o: at(52, "F32", [1, 1, 4]) }), "ATTENTION: o overlaps page 0");
      refused(() => stream.attention({ ...call, o: at(188, "F32", [1, 1, 4]) }), "ATTENTION: o overlaps page 1");
      taken(() => stream.attention({ ...call, o: at(48, "F32", [1, 1, 4]) }));
      taken(() => stream.attention({ ...call, o: at(192, "F32", [1, 1, 4]) }));
      taken(() => stream.attention({ ...call, start: 2, o: at(128, "F32", [1, 1, 4]) }));
    });

    test("experts, of which those that idx names are read", () => {
      const all = zeros("U8", [2 * EXPERT_BYTES]);
      const [x, weights] = [zeros("F32", [1, 32]), zeros("F32", [1, 1])];
      const list = createList();
      for (let expert = 0; expert < 2; expert++)
        for (const [i, weightAt] of [0, WEIGHT_BYTES, 2 * WEIGHT_BYTES].entries()) {
          list.append(tensor(all.buffer, "F4_E2M1", [32, 32], expert * EXPERT_BYTES + weightAt));
          list.append(tensor(all.buffer, "F8_E8M0", [32, 1], expert * EXPERT_BYTES + 3 * WEIGHT_BYTES + i * 32));
        }
      const call = { x, idx: zeros("I32", [1, 1]), weights, experts: list, limit: 10 };
      const y = (offset: number) => tensor(all.buffer, "F32", [1, 32], offset);
      refused(() => stream.experts({ ...call, y: y(0) }), "EXPERTS: y overlaps expert 0 w1");
      refused(() => stream.experts({ ...call, y: y(WEIGHT_BYTES) }), "EXPERTS: y overlaps expert 0 w3");
      refused(() => stream.experts({ ...call, y: y(2 * WEIGHT_BYTES) }), "EXPERTS: y overlaps expert 0 w2");
      refused(() => stream.experts({ ...call, y: y(3 * WEIGHT_BYTES) }), "EXPERTS: y overlaps expert 0 w1 scale");
      refused(() => stream.experts({ ...call, y: y(EXPERT_BYTES - 32) }), "EXPERTS: y overlaps expert 0 w2 scale");
      taken(() => stream.experts({ ...call, y: y(EXPERT_BYTES) }));
    });
  },
);

/** F4_E2M1 [32, 32], and three of them with their scales. */
const WEIGHT_BYTES = 512;
const EXPERT_BYTES = 3 * WEIGHT_BYTES + 3 * 32;

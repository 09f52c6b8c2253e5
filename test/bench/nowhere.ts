import type { SegmentStore } from "../../services/shared/segments/contract.ts";

/** A store that takes everything at once and keeps nothing. */
export const nowhere: SegmentStore = {
  countPrefix: async () => 0,
  get: async () => null,
  put: async () => true,
  claim: async () => true,
  unclaim: async () => {},
  close: async () => {},
};

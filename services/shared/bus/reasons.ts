/**
 * Reason of a release: the job waits until another has stored what both need. Explanations of a job's log know it by
 * this text.
 */
export const WAITS_FOR_PREFIX = "another job computes the same prefix";

/** Reason of a release: the job waits until a worker has memory for its KV. */
export const NO_ROOM = "its KV finds no room at this worker now";

/** Reason of a release: the job goes on behind those that waited for its place. */
export const TURN_IS_OVER = "its turn is over and others wait";

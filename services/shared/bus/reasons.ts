/** Why a job was released that waits until another has stored what both need: whoever explains a job's log knows it by this. */
export const WAITS_FOR_PREFIX = "another job computes the same prefix";

/** Why a job was released that waits until a worker has memory for its KV. */
export const NO_ROOM = "its KV finds no room at this worker now";

/** Why a job was released that goes on behind those who waited for its place. */
export const TURN_IS_OVER = "its turn is over and others wait";

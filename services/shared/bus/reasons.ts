/** Why a job was released that waits until another has stored what both need: whoever explains a job's log knows it by this. */
export const WAITS_FOR_PREFIX = "another job computes the same prefix";

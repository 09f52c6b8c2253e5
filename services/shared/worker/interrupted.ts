/**
 * Why the work on a held job stops before its end.
 *
 *   lost       another worker holds the job: touch nothing
 *   cancelled  somebody marked it
 *   expired    its deadline passed
 *   drained    this worker was told to stop: anyone may go on
 *   overtaken  interactive work waits and this worker had no free slot: anyone may go on, after it
 *   yielded    its turn is over and others wait for its place: anyone may go on, after them
 *   waiting    another job computes the same segments now: come back when they are stored
 *   crowded    no room here for its KV now: any worker with room may go on
 *   away       the record could not give the prompt: not the job's fault, and no attempt
 */
export class Interrupted extends Error {
  override readonly name = "Interrupted";
  readonly why: "lost" | "cancelled" | "expired" | "drained" | "overtaken" | "yielded" | "waiting" | "crowded" | "away";

  constructor(why: Interrupted["why"], message: string) {
    super(message);
    this.why = why;
  }
}

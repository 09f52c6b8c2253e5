/** A server of the record that was started again has forgotten who shows himself: nobody is gone before he was not seen for so many beats. */
export const ABSENT_BEATS = 2;
/** Under which role a replica shows that it lives. */
export const REPLICAS = "api";
/** Under which role the replicas that read a job show themselves. */
export const readersOf = (jobId: string): string => `reader.${jobId}`;
/** Under which role the replica that took a job shows that its readers are gone. */
export const leftBy = (jobId: string): string => `left.${jobId}`;

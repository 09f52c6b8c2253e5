/** What one golden suite found: one line of the runner. A folder with nothing to compare is an error, never a success. */
export interface SuiteResult {
  readonly suite: string;
  /** Tensors or cases that were compared. */
  readonly compared: number;
  /** Largest difference; for exact suites the number of cases that differ. */
  readonly worst: number;
  readonly tolerance: number | "exact";
  /** One sentence for each comparison that failed; empty = the suite holds. */
  readonly failures: readonly string[];
}

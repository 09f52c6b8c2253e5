/** What `longshore doctor` found. `needed`: without it nothing can be served here. */
export interface Finding {
  readonly what: string;
  readonly state: "yes" | "no" | "note";
  readonly text: string;
  readonly needed?: boolean;
}

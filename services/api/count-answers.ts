import type { ApiDeps } from "./deps.ts";

/** Counts an answer that went out: `route` as it is written in the routes, never as it was asked for, `status` in the words of its protocol. */
export function countAnswers({ metrics }: Pick<ApiDeps, "metrics">): (route: string, status: string) => void {
  const answers = metrics.counter("longshore_api_answers_total", "Answers that went out, over HTTP and gRPC.", ["route", "status"]);
  return (route, status) => answers.inc({ route, status });
}

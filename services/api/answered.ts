import type { ApiDeps } from "./deps.ts";

/** Counts an answer that went out: `route` as it is written in the routes, never as it was asked for, `status` in the words of its protocol. */
export type CountAnswer = (route: string, status: string) => void;

export function countAnswers({ metrics }: Pick<ApiDeps, "metrics">): CountAnswer {
  const answers = metrics.counter("longshore_api_answers_total", "Answers that went out, over HTTP and gRPC.", ["route", "status"]);
  return (route, status) => answers.inc({ route, status });
}

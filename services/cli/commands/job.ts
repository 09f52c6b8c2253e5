import type { JobObject } from "../../api/jobs/job-object.ts";
import type { Stage } from "../../api/jobs/timeline.ts";
import type { Client } from "../client.ts";

type Job = JobObject & { readonly error: { readonly message: string } | null };

export async function showJob(client: Client, id: string): Promise<void> {
  console.log(renderJob((await client.get(`/v1/jobs/${encodeURIComponent(id)}`)) as Job));
}

/** One job: what the cache did for it, and its life line by line. */
export function renderJob(job: Job): string {
  const { id, status, model, lane, timeline, error } = job;
  const over = timeline.at(-1)?.stage === "ended";
  const head = [
    `${id}  ${status}  ${model}, ${lane}`,
    `prompt    ${job.prompt_tokens} tokens${cached(job)}`,
    `answer    ${job.output_tokens} tokens${over ? "" : ` so far, deadline ${new Date(1_000 * job.deadline_at).toISOString()}`}`,
    ...(error === null ? [] : [`error     ${error.message}`]),
  ];
  return [...head, "", ...timeline.map(line)].join("\n");
}

function cached({ cache }: Job): string {
  if (cache === null) return "";
  const source = cache.source === "another_job" ? ", which another job was computing" : "";
  const again = (cache.recomputed_tokens ?? 0) > 0 ? `; ${cache.recomputed_tokens} run again to rebuild windows` : "";
  const miss = cache.miss === null ? "" : `\n          ${cache.miss.message}`;
  return `, ${cache.matched_tokens} from the cache${source}${again}${miss}`;
}

function line(stage: Stage): string {
  const time = new Date(1_000 * stage.at).toISOString().slice(11, 23);
  const seconds = stage.stage === "ended" ? "" : stage.seconds === null ? "so far" : `${stage.seconds.toFixed(3)} s`;
  return [time, stage.stage.replace("_", "-").padEnd(9), seconds.padStart(11), details(stage)].join("  ").trimEnd();
}

function details({ why, worker, from, done, total, boundary, recomputed, tokens, outcome }: Stage): string {
  return [
    ...(done === undefined ? [] : [`${done}/${total}${from === undefined || from === 0 ? "" : ` from ${from}`}`]),
    ...(boundary === undefined ? [] : [`boundary at ${boundary}${recomputed === 0 ? "" : `, ${recomputed} run again`}`]),
    ...(tokens === undefined ? [] : [`${tokens} tokens`]),
    ...(why === undefined ? [] : [why]),
    ...(worker === undefined ? [] : [`${worker}${outcome === undefined ? "" : `: ${outcome.replace("_", " ")}`}`]),
  ].join(", ");
}

import type { JobObject } from "../../api/jobs/job-object.ts";
import { ServingError } from "../../shared/runtime/errors.ts";
import type { Client } from "../client.ts";
import { table } from "../table.ts";

interface Listed {
  readonly id: string;
  /** Absent, both, where a replica of another version lists the job. */
  readonly prompt_tokens?: number;
  readonly created_at?: number;
}

/** The latest jobs, newest first, with where each stands now. A replica of the version before sends more than it is asked for. */
export async function listJobs(client: Client, limit: number): Promise<void> {
  const { data } = (await client.get(`/v1/jobs?limit=${limit}`)) as { data: Listed[] };
  const rows = await Promise.all(data.slice(0, limit).map(async (listed) => row(listed, await find(client, listed.id))));
  if (rows.length === 0) console.log("no jobs");
  else console.log(table([["job", "status", "prompt", "output", "submitted"], ...rows]));
}

interface FailedJob {
  readonly id: string;
  readonly failed_at: number;
  readonly claims: number;
  readonly error: { readonly code: string; readonly message: string };
}

/** The latest jobs that failed, newest first, with the reason as far as clients are told: the log of the API has all of it. */
export async function listFailedJobs(client: Client, limit: number): Promise<void> {
  const { data } = (await client.get(`/v1/jobs?status=failed&limit=${limit}`)) as { data: FailedJob[] };
  if (data.length === 0) console.log("no job failed");
  for (const { id, failed_at, claims, error } of data.slice(0, limit)) {
    console.log(`${id}  ${time(failed_at)}  ${claims} claims  ${error.code}: ${error.message}`);
  }
}

/** Null for a job whose log has been purged since it was listed. */
const find = (client: Client, id: string): Promise<JobObject | null> =>
  client.get(`/v1/jobs/${id}`).then(
    (job) => job as JobObject,
    (thrown: unknown) => {
      if (thrown instanceof ServingError && thrown.code === "NOT_FOUND") return null;
      throw thrown;
    },
  );

function row(listed: Listed, job: JobObject | null): string[] {
  const prefill = job?.status === "prefill" && job.prefill !== null ? ` ${Math.floor((100 * job.prefill.done) / job.prefill.total)} %` : "";
  const status = job === null ? "purged" : job.status + prefill;
  return [listed.id, status, String(listed.prompt_tokens ?? ""), String(job?.output_tokens ?? ""), time(listed.created_at)];
}

const time = (seconds?: number): string => (seconds === undefined ? "" : new Date(1_000 * seconds).toISOString());

export async function cancel(client: Client, jobId: string): Promise<void> {
  const { status } = (await client.post(`/v1/jobs/${encodeURIComponent(jobId)}/cancel`)) as { status: string };
  const held = status === "prefill" || status === "decode";
  console.log(held ? `${jobId}: told to stop; the worker that holds it notices within a chunk or step` : `${jobId}: ${status}`);
}

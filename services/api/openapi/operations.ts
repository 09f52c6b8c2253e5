import type { z } from "zod";
import { countTokensRequest, messagesRequest } from "../anthropic/requests.ts";
import { batchRequest } from "../files/batches.ts";
import { uploadRequest } from "../files/files.ts";
import { chatRequest, completionRequest, jobRequest } from "../requests.ts";
import { responsesRequest } from "../responses/requests.ts";

/** What a route does, for whoever writes a client. */
export interface Operation {
  readonly tag: "openai" | "anthropic" | "jobs" | "operations";
  readonly summary: string;
  readonly body?: z.ZodType;
  /** Of the body, where it is not JSON. */
  readonly bodyType?: "application/json" | "multipart/form-data";
  /** Query parameters and headers, with what they say. */
  readonly query?: Readonly<Record<string, string>>;
  readonly headers?: Readonly<Record<string, string>>;
  readonly status?: number;
  /** What the answer is; of a streaming route, what it is without and with `stream`. */
  readonly answer: string;
  readonly streams?: string;
}

const idempotency = { "Idempotency-Key": "Within a day, the same key and body join the same job; another body is a 409." };
const page = { order: "asc or desc; desc", after: "Id of the last one seen" };

/** Every route of the API. A test holds it against the routes there are. */
export const operations: Readonly<Record<string, Operation>> = {
  "POST /v1/chat/completions": {
    ...{ tag: "openai", summary: "Answer a conversation", body: chatRequest, headers: idempotency },
    ...{ answer: "chat.completion", streams: "chat.completion.chunk events, then [DONE]" },
  },
  "POST /v1/completions": {
    ...{ tag: "openai", summary: "Continue a text", body: completionRequest, headers: idempotency },
    ...{ answer: "text_completion", streams: "text_completion events, then [DONE]" },
  },
  "POST /v1/responses": {
    ...{
      tag: "openai",
      summary: "Answer input items with output items, also in the background",
      body: responsesRequest,
      headers: idempotency,
    },
    ...{ answer: "response", streams: "response.created to response.completed, numbered" },
  },
  "POST /v1/responses/input_tokens": {
    ...{ tag: "openai", summary: "How long the prompt of a response is", body: responsesRequest, answer: "input_tokens" },
  },
  "GET /v1/responses/:id": {
    ...{ tag: "openai", summary: "A response as it stands" },
    ...{ query: { stream: "true: its events", starting_after: "sequence_number of the last event seen; -1: none" } },
    ...{ answer: "response", streams: "The response's events" },
  },
  "GET /v1/responses/:id/input_items": {
    ...{ tag: "openai", summary: "The conversation before a response" },
    ...{ query: { limit: "1 to 100; 20", order: "asc or desc; desc", after: "Id of the last item seen" }, answer: "A list of items" },
  },
  "POST /v1/responses/:id/cancel": { tag: "openai", summary: "Cancel a response", answer: "response" },
  "DELETE /v1/responses/:id": { tag: "openai", summary: "Forget an ended response and its job", answer: "The response's id" },
  "POST /v1/files": {
    ...{ tag: "openai", summary: "Upload the lines of a batch", body: uploadRequest, bodyType: "multipart/form-data" },
    answer: "file",
  },
  "GET /v1/files": {
    ...{ tag: "openai", summary: "The files of the tenant" },
    ...{ query: { purpose: "batch or batch_output", ...page, limit: "1 to 10000; 10000" }, answer: "A list of files" },
  },
  "GET /v1/files/:id": { tag: "openai", summary: "One file", answer: "file" },
  "GET /v1/files/:id/content": { tag: "openai", summary: "What is in a file, of a running batch as far as it is written", answer: "Bytes" },
  "DELETE /v1/files/:id": { tag: "openai", summary: "Delete a file that no running batch uses", answer: "The file's id" },
  "POST /v1/batches": {
    ...{ tag: "openai", summary: "Run the lines of an uploaded file", body: batchRequest, headers: idempotency },
    answer: "batch",
  },
  "GET /v1/batches": {
    ...{ tag: "openai", summary: "The batches of the tenant", query: { ...page, limit: "1 to 100; 20" }, answer: "A list of batches" },
  },
  "GET /v1/batches/:id": { tag: "openai", summary: "Where a batch stands", answer: "batch" },
  "POST /v1/batches/:id/cancel": { tag: "openai", summary: "Cancel a batch; what has ended stays", answer: "batch" },
  "DELETE /v1/batches/:id": { tag: "openai", summary: "Forget a batch that ended before a line of it was run", answer: "The batch's id" },
  "GET /v1/models": { tag: "openai", summary: "The models served here", answer: "A list of models" },
  "GET /v1/models/:id": { tag: "openai", summary: "One model", answer: "model" },
  "POST /v1/messages": {
    ...{ tag: "anthropic", summary: "Answer a conversation, as Anthropic's clients ask", body: messagesRequest, headers: idempotency },
    ...{ answer: "message", streams: "message_start to message_stop, with pings from real progress" },
  },
  "POST /v1/messages/count_tokens": {
    ...{ tag: "anthropic", summary: "How long the prompt of a conversation is", body: countTokensRequest },
    answer: "input_tokens",
  },
  "POST /v1/jobs": {
    ...{ tag: "jobs", summary: "Submit a job that needs no reader", body: jobRequest, headers: idempotency },
    ...{ status: 202, answer: "The job's id, and when its answer should begin" },
  },
  "GET /v1/jobs": {
    ...{ tag: "jobs", summary: "The latest jobs of the tenant" },
    ...{ query: { status: "failed: those that no worker could do, with the reason", limit: "1 to 100; 100" } },
    answer: "A list of jobs",
  },
  "GET /v1/jobs/:id": { tag: "jobs", summary: "Where a job stands, and its answer so far", answer: "job" },
  "GET /v1/jobs/:id/events": {
    ...{ tag: "jobs", summary: "The events of a job's log, past and future" },
    ...{ query: { after: "Sequence number of the last event seen" }, headers: { "Last-Event-ID": "Id of the last event seen" } },
    ...{ answer: "", streams: "One event a record; the ids resume on any replica" },
  },
  "GET /v1/jobs/:id/stream": {
    ...{ tag: "jobs", summary: "The answer of a job as its surface streams it" },
    ...{ query: { after: "Sequence number of the last event seen", progress: "1: with progress events" } },
    ...{ headers: { "Last-Event-ID": "Id of the last event seen" }, answer: "", streams: "The chunks of the surface it was asked by" },
  },
  "POST /v1/jobs/:id/cancel": { tag: "jobs", summary: "Cancel a job", answer: "The job's id and state" },
  "DELETE /v1/jobs/:id": { tag: "jobs", summary: "Forget an ended job, its answer included", answer: "The job's id" },
  "GET /health": { tag: "operations", summary: "Whether the process runs", answer: "status" },
  "GET /ready": { tag: "operations", summary: "Whether it can take work", answer: "status, and the workers there are" },
  "GET /metrics": { tag: "operations", summary: "Prometheus metrics", answer: "Text" },
};

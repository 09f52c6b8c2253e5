import { messagesSurface } from "../anthropic/surface.ts";
import { answerId } from "../ids.ts";
import { chatSurface, completionSurface } from "../openai/surfaces.ts";
import { responsesSurface, writtenOf } from "../responses/surface.ts";
import type { Surface } from "./surface.ts";
import type { View } from "./view.ts";

export interface Identity {
  readonly jobId: string;
  readonly model: string;
  readonly view: View;
  readonly fingerprint: string;
}

export function surfaceOf({ jobId, model, view, fingerprint }: Identity, includeUsage: boolean): Surface {
  const head = (object: string) => ({
    id: answerId(view.surface, view.choice?.of ?? jobId),
    object,
    created: view.created,
    model,
    system_fingerprint: fingerprint,
  });
  const place = { jobId, index: view.choice?.index ?? 0 };
  switch (view.surface) {
    case "chat":
      return chatSurface(head, place, includeUsage);
    case "completion":
      return completionSurface(head, place, includeUsage);
    case "messages":
      return messagesSurface(jobId, model);
    case "responses":
      return responsesSurface(writtenOf({ jobId, model, view }), -1);
  }
}

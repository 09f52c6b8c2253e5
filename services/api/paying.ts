import { type Pay, Places } from "./admission/places.ts";
import { type ApiRequest, keyInRecord } from "./api-request.ts";
import { callerOf } from "./auth.ts";
import type { ApiDeps } from "./deps.ts";
import type { WrittenPrompt } from "./prompt/prompt.ts";

export function placesFor(deps: ApiDeps, request: ApiRequest, answers: number): Places {
  const { admission } = deps;
  const key = keyInRecord(request);
  return new Places(admission, payer(deps, request), answers, key === null ? undefined : () => admission.making.begin(key));
}

const payer =
  ({ limits }: Pick<ApiDeps, "limits">, request: Pick<ApiRequest, "caller">): Pay =>
  (spendings) => {
    const { key } = callerOf(request);
    return key === null ? spendings.map(() => () => {}) : limits.spend(key, spendings);
  };

/** The tokens of a prompt, for one of the caller's requests; what is refused after all costs none. */
export async function countTokens(deps: ApiDeps, request: ApiRequest, write: () => Promise<WrittenPrompt>): Promise<number> {
  const [giveBack] = payer(deps, request)([{ requests: 1, tokens: 0 }]);
  try {
    const prompt = await write();
    return (await prompt.ids()).length;
  } catch (thrown) {
    giveBack!();
    throw thrown;
  }
}

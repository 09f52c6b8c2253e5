import { expect, test } from "vitest";
import { type AnswerFormat, flatFormat, formatOf } from "../../../services/api/prompt/answer-format.ts";
import { onDemand } from "../../../services/api/prompt/exactly.ts";
import { chatRequest, parseBody } from "../../../services/api/requests.ts";
import { readJson } from "../../../services/shared/engine/chat/python-json.ts";

/** What JavaScript would read otherwise: names that are whole numbers come first there, and the number is rounded. */
const SCHEMA = '{"type":"object","properties":{"b":{"const":9007199254740993},"10":{"const":1.0}},"required":["b","10"]}';

test("a schema is handed on as it was sent, with its order and its numbers", () => {
  const schemaOf = (format: AnswerFormat | undefined) => format?.schema;
  const sent = `{"type": "json_schema", "name": "n", "schema": ${SCHEMA.replaceAll(":", " : ")}}`;
  const flat = JSON.parse(sent) as { type: string; schema: unknown };
  expect(schemaOf(flatFormat(flat, () => readJson(sent), "text.format"))).toBe(SCHEMA);

  const body = `{"model": "m", "messages": [{"role": "user", "content": "x"}], "response_format": {"type": "json_schema", "json_schema": ${sent}}}`;
  const request = parseBody(chatRequest, JSON.parse(body));
  expect(
    schemaOf(
      formatOf(
        request,
        onDemand(() => readJson(body)),
      ),
    ),
  ).toBe(SCHEMA);
});

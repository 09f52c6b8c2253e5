import fc from "fast-check";
import { expect, test } from "vitest";
import { JsonNumber, printFloat, printJson, readJson } from "../../../../../services/shared/engine/chat/python-json.ts";

const through = (text: string) => printJson(readJson(text));

// Printed by CPython 3.11: repr(x).
const PYTHON_FLOATS = [
  ...["0.1", "1.0", "100.0", "1000000000000000.0", "1e+16", "1.2345678901234568e+17", "1e+21", "1e+22", "1.5e+300", "5e-324", "0.0001"],
  ...[
    "9.999e-05",
    "0.00012",
    "1e-05",
    "1e-07",
    "2.5",
    "-3.25e-09",
    "0.3333333333333333",
    "9007199254740992.0",
    "1234567890000000.0",
    "-1e+16",
  ],
  ...[
    "1.7976931348623157e+308",
    "0.0",
    "-0.0",
    "-3.5233447033367526e-12",
    "-85512742666491.45",
    "-8.117399161206349e+16",
    "8954178849140113.0",
  ],
];

test("floats print as Python prints them", () => {
  for (const text of PYTHON_FLOATS) expect(printFloat(Number(text))).toBe(text);
  fc.assert(
    fc.property(fc.double({ noNaN: true, noDefaultInfinity: true }), (value) => {
      expect(Object.is(Number(printFloat(value)), value)).toBe(true);
      expect(through(printFloat(value))).toBe(printFloat(value));
    }),
  );
});

// Left: text. Right: json.dumps(json.loads(text), ensure_ascii=False) of CPython 3.11.
const PYTHON_PAIRS: readonly (readonly [string, string])[] = [
  ["[1, 1.0, 2.50, -0.0, -0, 1e21, 1E-7, 1e2]", "[1, 1.0, 2.5, -0.0, 0, 1e+21, 1e-07, 100.0]"],
  ["123456789012345678901234567890", "123456789012345678901234567890"],
  ["[NaN, Infinity, -Infinity, 1e999, -1e999]", "[NaN, Infinity, -Infinity, Infinity, -Infinity]"],
  ['{"10": 1, "9": 2, "a": {"b": []}, "9": 3}', '{"10": 1, "9": 3, "a": {"b": []}}'],
  ['"\\u00e9\\ud83d\\ude00\\/\\b\\f\\u007f\\u0001\\u2028"', '"é😀/\\b\\f\u007f\\u0001\u2028"'],
  ['"a\\\\\\"b\\\\"', '"a\\\\\\"b\\\\"'],
  ['{"__proto__": 1, "constructor": null}', '{"__proto__": 1, "constructor": null}'],
  [" \t\n\r[ ]\n", "[]"],
  ['{"a":{},"b":[[],[[]]]}', '{"a": {}, "b": [[], [[]]]}'],
];

test("what is read prints as Python prints it", () => {
  for (const [text, python] of PYTHON_PAIRS) expect(through(text)).toBe(python);
});

test("what is not JSON for Python is refused with the place", () => {
  const bad = ["", " ", "{", "[1,]", "[1 2]", '{"a"}', '{"a":}', "{a: 1}", "'a'", "01", "1.", ".5", "+1", "- 1", "tru", "True", "nan"];
  for (const text of [...bad, '"a', '"\n"', '"\\x"', '"\\u12g4"', '"\\"', "[1] 2", "\u00a01", "[".repeat(300)])
    expect(() => readJson(text), text).toThrow(/not JSON at character \d+/);
});

test("every JSON text JavaScript knows is read, and spacing is all that printing adds", () => {
  fc.assert(
    fc.property(fc.json(), (text) => {
      const unsigned = (json: string) => JSON.parse(json, (_, value) => (value === 0 ? 0 : value)); // Python reads -0 as the integer 0
      expect(unsigned(through(text))).toEqual(unsigned(text));
    }),
  );
});

test("plain values print, too", () => {
  expect(printJson({ a: [1, 2.5, -0, 1e21, 10n ** 30n, "é", null, true], b: new JsonNumber("1.0") })).toBe(
    `{"a": [1, 2.5, -0.0, 1000000000000000000000, 1${"0".repeat(30)}, "é", null, true], "b": 1.0}`,
  );
});

test("strings of megabytes are read", () => {
  const text = JSON.stringify(`\\"`.repeat(1_000_000));
  expect(readJson(text)).toHaveLength(2_000_000);
});

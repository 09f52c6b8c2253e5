import type { ChaosResult } from "./chaos.ts";

/** The result in a few lines, for people. */
export function report({ disturbed, verdicts, lost, faults, returns, seconds }: ChaosResult): string {
  const sum = (of: (verdict: ChaosResult["verdicts"][number]) => number) => verdicts.reduce((total, verdict) => total + of(verdict), 0);
  const worst = verdicts.reduce((a, b) => (b.stillMs > a.stillMs ? b : a), { stillMs: 0, stillFromMs: 0, still: "" });
  const segments = sum(({ segments }) => segments);
  const again = sum(({ segmentsAgain }) => segmentsAgain);
  const lines: [string, string][] = [
    ["disturbances", `${disturbed.length}`],
    ...[...new Set(disturbed.map(({ kind }) => kind))].sort().map((kind): [string, string] => [`  ${kind}`, byTarget(disturbed, kind)]),
    ["jobs", `${verdicts.length} answered, ${lost.length} lost`],
    ["tokens", `${sum(({ tokens }) => tokens)} in the record, ${sum((v) => v.tokensLost)} lost, ${sum((v) => v.tokensDoubled)} doubled`],
    [
      "answers",
      `${faults.length === 0 ? "every byte as on a quiet day" : `${faults.length} differences`}; clients came back ${returns} times`,
    ],
    ["takeovers", `${sum(({ takeovers }) => takeovers)}; ${sum(({ sentBack }) => sentBack)} jobs sent back to prefill`],
    ["turns", `${sum(({ turns }) => turns)} ended while others waited`],
    ["recomputed", `${again.toFixed(1)} of ${segments.toFixed(0)} segments`],
    ["worst recovery", `${(worst.stillMs / 1_000).toFixed(1)} s (${worst.still})`],
    ["  meanwhile", during(disturbed, worst.stillFromMs, worst.stillFromMs + worst.stillMs)],
    ["run time", `${seconds.toFixed(0)} s`],
  ];
  return lines.map(([name, value]) => `${name.padEnd(15)} ${value}`).join("\n");
}

const during = (disturbed: ChaosResult["disturbed"], fromMs: number, toMs: number): string =>
  disturbed
    .filter((one) => one.fromMs < toMs && (one.toMs ?? toMs) > fromMs)
    .map(({ kind, target }) => `${kind} ${target}`)
    .join(", ");

/** `12: api-1 5, nats 7` */
function byTarget(disturbed: ChaosResult["disturbed"], kind: string): string {
  const targets = disturbed.filter((one) => one.kind === kind).map(({ target }) => target);
  const counts = [...new Set(targets)].sort().map((target) => `${target} ${targets.filter((other) => other === target).length}`);
  return `${String(targets.length).padStart(3)}: ${counts.join(", ")}`;
}

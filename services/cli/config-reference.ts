import { envName } from "../shared/runtime/config.ts";
import type { Setting } from "../shared/runtime/setting-kinds.ts";
import { settingGroups } from "../shared/runtime/settings.ts";

const titles: { readonly [Group in keyof typeof settingGroups]: string } = {
  cluster: "Must agree across the cluster",
  record: "Must agree across the cluster: what the record keeps (the largest value that a process asked for holds)",
  stores: "Record and cache",
  work: "Jobs",
  prefill: "Prefill workers",
  decode: "Decode workers",
  batch: "Batch coordinators",
  engine: "Engine",
  api: "API",
  client: "Client commands",
  runtime: "Every process",
};

/** docs/configuration.md, made from the config module. A test keeps the file equal to this. */
export function configReference(): string {
  const sections = Object.entries(settingGroups).map(([group, settings]) => {
    const rows = Object.entries<Setting<unknown>>(settings).map(
      ([name, { kind, fallback, doc }]) => `| \`${envName(name)}\` | ${fallback === "" ? "" : `\`${fallback}\``} | ${kind} | ${doc} |`,
    );
    return [`## ${titles[group as keyof typeof titles]}`, "", "| variable | default | value | |", "|---|---|---|---|", ...rows, ""].join(
      "\n",
    );
  });
  return [
    "# Configuration",
    "",
    "Every setting is an environment variable. The roles, `longshore up`, `longshore keys` and `longshore doctor` name all bad",
    "or unknown `LONGSHORE_` variables at once and exit with 2. Commands that ask an API read `LONGSHORE_KEY` alone.",
    "",
    "Containers get the settings of your shell and of a file `.env` beside `docker-compose.yml`, except for its own servers,",
    "addresses and ports, which `longshore up --cluster` refuses to be told. The file passes settings on by name and does not",
    "notice a misspelt one: `docker compose config` shows what each role gets.",
    "",
    "This file is made by `longshore config`; the source is `services/shared/runtime/settings.ts`.",
    "",
    ...sections,
  ].join("\n");
}

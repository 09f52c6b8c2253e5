#!/usr/bin/env node
import { Command } from "commander";
import { type Config, environment, envName, loadConfig } from "../shared/runtime/config.ts";
import { refusal } from "../shared/runtime/errors.ts";
import { packageVersion } from "../shared/runtime/package-root.ts";
import { named, positive, whole } from "./arguments.ts";
import { openClient } from "./client.ts";
import type { BatchOptions } from "./commands/batch.ts";
import type { DemoOptions } from "./commands/demo.ts";
import type { KeyOptions } from "./commands/keys.ts";
import type { SubmitOptions } from "./commands/submit.ts";
import type { ClusterOptions } from "./commands/up-cluster.ts";
import { endOf, watchOutput } from "./end.ts";

/**
 * `longshore`: everything from one command. Commands load what they need when they run, so that `--help` is instant and `sizes` works on a
 * machine without kernels.
 */
const program = new Command("longshore")
  .description("Serves DeepSeek-V4-architecture models on hardware you own.")
  .version(packageVersion())
  .option("--url <url>", "the API that client commands talk to", "http://127.0.0.1:8000")
  .option("--key <key>", "API key for client commands; LONGSHORE_KEY hides it from others on this machine")
  .showHelpAfterError("(see longshore --help)")
  .exitOverride()
  .addHelpText(
    "after",
    `
Begin with:
  longshore doctor                                what this machine has
  longshore demo                                  a model answers five questions about a 100,000-token document
  longshore up                                    serve it, all in one process
  longshore up --cluster                          serve it as docker-compose.yml says, in separate processes
  longshore submit yard.txt --question "Where is container red-fox?"
  longshore batch questions.jsonl -o answers.jsonl

Settings are LONGSHORE_ environment variables: longshore config lists them.
Exit codes: 0 done; 1 failed, or try again later; 2 the command line, the configuration or the request is at fault;
130 left with Ctrl-C: what it watched goes on.`,
  );

const config = (): Config => loadConfig();
const client = () => {
  const { url, key } = program.opts<{ url: string; key?: string }>();
  return openClient(url, (key ?? environment[envName("key")]) || undefined);
};

program
  .command("demo")
  .description("show the whole path: one long document, five questions, one prefill")
  .option("--tokens <n>", "length of the document", whole, 100_000)
  .option("--long", "also measure the rates of the model's README (about 10 minutes)")
  .action(async (options: DemoOptions) => (await import("./commands/demo.ts")).demo(config(), options));

program
  .command("up")
  .description("serve until stopped: in this process, or as a local cluster of processes")
  .option("--cluster", "separate processes with real nats-server and redis-server, from docker-compose.yml")
  .option("--free-ports", "with --cluster: any free ports instead of those of docker-compose.yml")
  .option("--state <folder>", "with --cluster: where logs and the record are kept (default: .longshore/cluster)", named)
  .action(async (options: ClusterOptions & { cluster?: boolean }) => {
    if (options.cluster === true) await (await import("./commands/up-cluster.ts")).upCluster(config(), options);
    else if (options.state !== undefined)
      throw refusal("--state goes with --cluster; without it nothing is kept, and logs go to standard error");
    else if (options.freePorts === true) throw refusal("--free-ports goes with --cluster; LONGSHORE_PORT=0 takes any free one");
    else await (await import("./commands/up.ts")).up(config());
  });

program
  .command("submit")
  .description("submit a text or a request file (JSON with messages or prompt) and print the answer")
  .argument("<file>")
  .option("--question <text>", "question to ask after the text of the file")
  .option("--max-tokens <n>", "most tokens of the answer", positive)
  .option("--detach", "print the job's id and leave it running; `longshore answer` waits for its answer")
  .action(async (file: string, options: SubmitOptions) => (await import("./commands/submit.ts")).submitFile(client(), file, options));
program
  .command("answer")
  .description("wait for a job that was submitted before, and print its answer")
  .argument("<job>")
  .action(async (job: string) => (await import("./commands/submit.ts")).printAnswer(client(), job));

program
  .command("batch")
  .description("run a file of requests, a JSON object in each line, and write the answers to another")
  .argument("<file>")
  .requiredOption("-o, --output <file>", "where the answers go, in any order; those of lines that failed go to <file>.errors", named)
  .option("--detach", "leave once the batch is accepted; the same command without it waits for the end")
  .option("--cancel", "cancel the batch of these two files, and fetch what has ended")
  .action(async (file: string, options: BatchOptions) => (await import("./commands/batch.ts")).batch(client(), file, options))
  .addHelpText(
    "after",
    `
A line of the file is a request with a name of your own, as in OpenAI's batches:
  {"custom_id": "page 1", "method": "POST", "url": "/v1/chat/completions",
   "body": {"model": "yardlog", "messages": [{"role": "user", "content": "..."}]}}

All lines go to one url (/v1/chat/completions, /v1/completions, /v1/responses) and one model; 50,000 lines and
200 MB at most. If one cannot be sent, none is, and you are told which and why. Lines whose prompts begin alike run
together, so what they share is computed once: put the document first, the question last.

Ctrl-C leaves the batch running. The same command again, from anywhere on this machine, goes on watching it:
what belongs together is kept in <output>.batch until the answers are there.

  longshore batch questions.jsonl -o answers.jsonl`,
  );

program
  .command("jobs")
  .description("the latest jobs and where they stand, or the life of one")
  .argument("[job]", "its stages with their times, and what the cache did for it")
  .option("--limit <n>", "how many, 100 at most", positive, 20)
  .option("--failed", "only those that no worker could do, and why, as far as clients are told")
  .action(async (job: string | undefined, { limit, failed }: { limit: number; failed?: boolean }) => {
    if (job !== undefined) return (await import("./commands/job.ts")).showJob(client(), job);
    const { listFailedJobs, listJobs } = await import("./commands/jobs.ts");
    await (failed === true ? listFailedJobs : listJobs)(client(), limit);
  });

program
  .command("cancel")
  .description("cancel a job")
  .argument("<job>")
  .action(async (job: string) => (await import("./commands/jobs.ts")).cancel(client(), job));

const keys = program.command("keys").description("API keys: who may use the cluster, and how much (needs LONGSHORE_NATS_URL)");
keys
  .command("create")
  .description("make a key and print it, once")
  .argument("<name>", "who it is for")
  .option("--tenant <name>", "keys of one tenant see each other's jobs and share cached prefixes (default: the name)")
  .option("--requests-per-minute <n>", "limit over all replicas (default: none)", positive)
  .option("--tokens-per-minute <n>", "limit of prompts and expected answers together (default: none)", positive)
  .action(async (name: string, options: Omit<KeyOptions, "name">) =>
    (await import("./commands/keys.ts")).createKey(config(), { name, ...options }),
  );
keys
  .command("list")
  .description("all keys, their tenants and limits")
  .action(async () => (await import("./commands/keys.ts")).listKeys(config()));
keys
  .command("revoke")
  .description("refuse a key from now on")
  .argument("<id>", "its id in `longshore keys list`")
  .action(async (id: string) => (await import("./commands/keys.ts")).revokeKey(config(), id));

program
  .command("doctor")
  .description(
    "what this machine has and lacks: kernel paths, model, NATS and Redis where LONGSHORE_NATS_URL and LONGSHORE_REDIS_URL name them",
  )
  .action(async () => {
    if (!(await (await import("./commands/doctor.ts")).doctor(config()))) process.exitCode = 1;
  });

program
  .command("sizes")
  .description("bytes of KV per token, segment and context of a model; needs no weights")
  .argument("<config>", "a config.json, a model's folder, or v4-flash, v4-flash-0731, v4-pro")
  .action(async (name: string) => {
    const { findModelConfig, sizes } = await import("./sizes.ts");
    const model = findModelConfig(name);
    console.log(sizes(model.name, model.config));
  });

program
  .command("inspect")
  .description("what a checkpoint holds, lacks and needs")
  .argument("<folder>")
  .action(async (folder: string) => console.log(await (await import("./inspect.ts")).inspect(folder)));

program
  .command("config")
  .description("every setting, as the text of docs/configuration.md")
  .action(async () => {
    process.stdout.write((await import("./config-reference.ts")).configReference());
  });

program
  .command("health", { hidden: true })
  .description("exit 0 if the process of this environment is ready")
  .action(async () => (await import("./commands/health.ts")).health(config()));

const role = (name: string, what: string, load: () => Promise<(config: Config) => Promise<void>>) =>
  program
    .command(name)
    .description(what)
    .helpGroup("Roles, each one process of a cluster that uses your own servers (LONGSHORE_NATS_URL, LONGSHORE_REDIS_URL):")
    .action(async () => (await load())(config()));
role("api", "one API replica", async () => (await import("../api/main.ts")).runApi);
role("prefill", "one prefill worker", async () => (await import("../prefill/main.ts")).runPrefill);
role("decode", "one decode worker", async () => (await import("../decode/main.ts")).runDecode);
role("batch-coordinator", "one coordinator of batches", async () => (await import("../batch/main.ts")).runBatchCoordinator);

watchOutput();
await program.parseAsync().catch(endOf);

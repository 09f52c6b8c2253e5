import { ServingError } from "../../shared/runtime/errors.ts";
import type { ProcessPlan } from "./plan.ts";
import { isFree } from "./ports.ts";
import { startFailure } from "./start-failure.ts";
import { lock, makeFolder } from "./state-folder.ts";
import { EndedEarly, type LaunchOptions, type RunningProcess, Supervised } from "./supervised.ts";

interface Cluster {
  readonly processes: readonly RunningProcess[];
  /** SIGTERM to everything, those that depend on others first; SIGKILL to what is left after 15 s. */
  stop(): Promise<void>;
}

/**
 * Starts the processes, each once those it needs answer their probe. Output goes to stateDir/NAME.log. If one does not come up, or `signal`
 * aborts meanwhile, everything is stopped again and this rejects: where processes ended, with what the first of them said.
 */
export async function launch(plans: readonly ProcessPlan[], options: LaunchOptions): Promise<Cluster> {
  makeFolder(options.stateDir);
  for (const { name, port } of plans) await requireFree(name, port);
  const unlock = lock(options.stateDir);
  const waves: Supervised[][] = [];
  const stop = async () => {
    for (const wave of [...waves].reverse()) await Promise.all(wave.map((one) => one.stop()));
    unlock();
  };
  try {
    for (const wave of inWaves(plans)) {
      const started = wave.map((plan) => new Supervised(plan, options));
      waves.push(started);
      await Promise.all(
        started.map(async (one) => {
          await one.ready();
          options.onStarted?.(one);
        }),
      );
    }
  } catch (error) {
    await stop(); // what they said last has come by then
    throw error instanceof EndedEarly ? startFailure(waves.flat()) : error;
  }
  return { processes: waves.flat(), stop };
}

/** What needs nothing that is still to come starts, and at the end stops, together. */
export function inWaves(plans: readonly ProcessPlan[]): ProcessPlan[][] {
  const depth = (service: string): number =>
    Math.max(0, ...plans.filter((plan) => plan.service === service).flatMap(({ after }) => after.map((other) => 1 + depth(other))));
  const waves: ProcessPlan[][] = [];
  for (const plan of plans) {
    const wave = depth(plan.service);
    waves[wave] = [...(waves[wave] ?? []), plan];
  }
  return waves;
}

/** Another process on our port would answer the probe in our process's name. */
async function requireFree(name: string, port: number): Promise<void> {
  if (await isFree(port)) return;
  throw new ServingError(
    "UNAVAILABLE",
    `port ${port} of ${name} is taken; stop what listens there, publish another in docker-compose.yml, or start with --free-ports`,
  );
}

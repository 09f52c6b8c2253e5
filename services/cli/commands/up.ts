import { type Config, refuseLockedDoor, refuseServers } from "../../shared/runtime/config.ts";
import { runUntilStopped } from "../../shared/runtime/lifecycle.ts";
import { openLog } from "../../shared/runtime/log.ts";
import { serveEmbedded } from "../serve.ts";

/** Serves from this process until told to stop. */
export async function up(config: Config): Promise<void> {
  refuseServers(config);
  refuseLockedDoor(config);
  const log = openLog("up", config.logLevel);
  const { api, cluster, stop } = await serveEmbedded(config, log);
  const { model } = cluster.opened;
  console.log(`${model} at ${api.url}${api.grpc === null ? "" : `, gRPC at ${api.grpc}`}, all in this process: its jobs end with it. Stop with Ctrl-C.

  curl ${api.url}/v1/chat/completions -H 'content-type: application/json' \\
    -d '{"model": "${model}", "messages": [{"role": "user", "content": "..."}]}'
`);
  await runUntilStopped(log, config.drainMs, async (signal) => {
    await Promise.race([new Promise((resolve) => signal.addEventListener("abort", resolve, { once: true })), cluster.failed]);
    await stop();
  });
}

import type { ServiceDefinition } from "@grpc/grpc-js";
import { fromJSON, type PackageDefinition } from "@grpc/proto-loader";
import definitions from "../../../proto/gen/jobs.ts";

/** The public API of proto/longshore/v1/jobs.proto: fields as they are spelled there, numbers for 64-bit integers, names for enums. */
export const packageDefinition: PackageDefinition = fromJSON(definitions as Parameters<typeof fromJSON>[0], {
  longs: Number,
  enums: String,
  arrays: true,
  oneofs: true,
});

export const JOBS = "longshore.v1.Jobs";
export const BATCHES = "longshore.v1.Batches";
export const jobsService = readable(packageDefinition[JOBS] as ServiceDefinition);
export const batchesService = readable(packageDefinition[BATCHES] as ServiceDefinition);

/** What a method is given for a message that is none of its own: grpc-js itself would call that our mistake (INTERNAL). */
export const UNREADABLE = Symbol("unreadable");

function readable(service: ServiceDefinition): ServiceDefinition {
  const methods = Object.entries(service).map(([name, method]) => {
    const requestDeserialize = (bytes: Buffer): unknown => {
      try {
        return method.requestDeserialize(bytes);
      } catch {
        return UNREADABLE;
      }
    };
    return [name, { ...method, requestDeserialize }] as const;
  });
  return Object.fromEntries(methods);
}

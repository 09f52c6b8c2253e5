import * as grpc from "@grpc/grpc-js";
import { loadSync, type PackageDefinition } from "@grpc/proto-loader";
import { collect } from "./bus.ts";

export type Message = Record<string, unknown>;
export type Client = grpc.Client & Record<string, (...args: unknown[]) => unknown>;
export type Update = Message & { sequence: number; status: string; deltas: Record<string, unknown>[] };

export const protoOptions = { keepCase: true, longs: Number, enums: String, arrays: true, oneofs: true, includeDirs: ["proto"] };
const api = loadSync("longshore/v1/jobs.proto", protoOptions);
const clients: Client[] = [];

/** A client made from a .proto file, as a user of the API makes one. */
export function clientOf(
  definition: PackageDefinition,
  service: string,
  address: string,
  credentials = grpc.credentials.createInsecure(),
): Client {
  const made = grpc.makeGenericClientConstructor(definition[service] as grpc.ServiceDefinition, service);
  const client = new made(address, credentials, { "grpc.ssl_target_name_override": "localhost" }) as unknown as Client;
  clients.push(client);
  return client;
}

export const jobsAt = (address: string, credentials?: grpc.ChannelCredentials) => clientOf(api, "longshore.v1.Jobs", address, credentials);
export const batchesAt = (address: string) => clientOf(api, "longshore.v1.Batches", address);

/** Called at the end of a file of tests, before the servers end. */
export function closeClients(): void {
  for (const client of clients) client.close();
}

export const call = (client: Client, method: string, request: Message, metadata = new grpc.Metadata()) =>
  new Promise<Message>((resolve, reject) => {
    client[method]!(request, metadata, (error: unknown, response: Message) => (error === null ? resolve(response) : reject(error)));
  });

export const updatesOf = (stream: unknown): Promise<Update[]> => collect(stream as AsyncIterable<Update>);

/** A request to submit or to generate from. */
export const ask = { model: "yardlog", chat: { messages: [{ role: "user", content: "Where is red-fox?" }] } };

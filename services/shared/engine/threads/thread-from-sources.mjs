// A thread without a build: loads the file that its argument names as TypeScript.
import { register } from "tsx/esm/api";

register();
await import(process.argv.at(-1));

// A thread where no build was made: has the file that its argument names read as TypeScript.
import { register } from "tsx/esm/api";

register();
await import(process.argv.at(-1));

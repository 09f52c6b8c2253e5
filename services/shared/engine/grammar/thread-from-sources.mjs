// The grammars' thread where no build was made (tests, development): workers do not inherit the loader that reads TypeScript.
import { register } from "tsx/esm/api";

register();
await import("./thread.ts");

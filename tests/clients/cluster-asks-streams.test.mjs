import { asks } from "./support/asks.mjs";

await asks("streams");

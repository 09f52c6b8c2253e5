/** SEED replays properties, too: with the seed that fast-check names when one fails. */
if (process.env.SEED !== undefined) {
  const { configureGlobal } = await import("fast-check");
  configureGlobal({ seed: Number(process.env.SEED) });
}

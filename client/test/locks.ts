/** The part of the Web Locks API that the client uses, for Node versions that have none. */

/** Exclusive locks by name, granted in the order of the requests. */
export class FakeLocks {
  readonly #tails = new Map<string, Promise<void>>();
  /** How many are held now, and the most that ever were under one name. */
  held = 0;
  most = 0;

  async request(name: string, { signal }: { signal: AbortSignal }, work: () => Promise<void>): Promise<void> {
    const turn = (this.#tails.get(name) ?? Promise.resolve()).then(async () => {
      signal.throwIfAborted();
      this.most = Math.max(this.most, ++this.held);
      try {
        await work();
      } finally {
        this.held -= 1;
      }
    });
    this.#tails.set(name, turn.catch(() => undefined));
    await turn;
  }
}

/** Delay before the next attempt: exponential growth with full jitter. */

export interface BackoffOptions {
  /** Upper bound of the first wait, ms. */
  base: number;
  /** Upper bound of every wait, ms. */
  cap: number;
  /** A number in [0, 1); `Math.random` by default. */
  random?: () => number;
}

/**
 * Waits are drawn uniformly from [0, min(cap, base · 2ⁿ)], so that a thousand
 * clients that lost the same server do not come back in the same instant.
 */
export class Backoff {
  #tries = 0;
  readonly #options: BackoffOptions;

  constructor(options: BackoffOptions) {
    this.#options = options;
  }

  /** The next wait in ms; never less than `atLeast`. */
  next(atLeast = 0): number {
    const { base, cap, random = Math.random } = this.#options;
    const bound = Math.min(cap, base * 2 ** this.#tries);
    this.#tries = Math.min(this.#tries + 1, 30);
    return atLeast + random() * bound;
  }

  /** Number of delays drawn since the last success. */
  get tries(): number {
    return this.#tries;
  }

  /** Call it after a success. */
  reset(): void {
    this.#tries = 0;
  }
}

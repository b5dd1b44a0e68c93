/** Puts the events of one conversation in the order of `rev`, and notices when some are missing. */

/** Anything that takes a place in a conversation's sequence of changes. */
export interface Revised {
  rev: number;
}

export interface GateOptions<E extends Revised> {
  /** Called with each event exactly once, in the order of `rev`, without a gap. */
  apply: (event: E) => void;
  /** Something is missing and did not come by itself: ask for a snapshot, then call `advance`. */
  onGap: () => void;
  /** Time to wait for events that were overtaken by others, ms. */
  patience?: number;
}

const PATIENCE = 300;
const MAX_PATIENCE = 30_000;
const MAX_TRIES = 8;
const MAX_HELD = 200;

/**
 * Holding `rev = r`, an event with `r + 1` is applied, one with ≤ `r` dropped (it
 * was seen), and a larger one held. What is held after a moment's patience is a gap.
 */
export class RevGate<E extends Revised> {
  #rev: number | undefined;
  /** The highest revision that is known to exist. */
  #head = 0;
  #tries = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;
  readonly #held = new Map<number, E>();
  readonly #options: GateOptions<E>;

  constructor(options: GateOptions<E>) {
    this.#options = options;
  }

  /** The revision that was reached; undefined before the first snapshot. */
  get rev(): number | undefined {
    return this.#rev;
  }

  /** An event came, in whatever order. */
  accept(event: E): void {
    if (this.#rev !== undefined && event.rev <= this.#rev) return;
    this.#head = Math.max(this.#head, event.rev);
    // What does not fit is forgotten: the head remembers that it exists.
    if (this.#held.size < MAX_HELD || event.rev === (this.#rev ?? 0) + 1) this.#held.set(event.rev, event);
    this.#drain();
  }

  /** Revision `rev` exists, says somebody who does not tell what it is. */
  hint(rev: number): void {
    if (rev <= (this.#rev ?? 0)) return;
    this.#head = Math.max(this.#head, rev);
    this.#watch();
  }

  /** A snapshot holds everything up to `rev`, which is not smaller than what was reached. */
  advance(rev: number): void {
    if (rev !== this.#rev) this.#tries = 0;
    this.#rev = rev;
    for (const held of this.#held.keys()) if (held <= rev) this.#held.delete(held);
    this.#drain();
  }

  /** Forgets everything. */
  reset(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#rev = undefined;
    this.#head = 0;
    this.#tries = 0;
    this.#held.clear();
  }

  #drain(): void {
    while (this.#rev !== undefined) {
      const next = this.#held.get(this.#rev + 1);
      if (!next) break;
      this.#held.delete(next.rev);
      this.#rev = next.rev;
      this.#tries = 0;
      this.#options.apply(next);
    }
    this.#watch();
  }

  /** One timer while something is missing; each try in vain waits longer than the one before. */
  #watch(): void {
    if (this.#head <= (this.#rev ?? 0)) {
      clearTimeout(this.#timer);
      this.#timer = undefined;
      return;
    }
    if (this.#timer !== undefined) return;
    const patience = this.#options.patience ?? PATIENCE;
    this.#timer = setTimeout(() => { this.#missing(); }, Math.min(MAX_PATIENCE, patience * 2 ** this.#tries));
  }

  #missing(): void {
    this.#timer = undefined;
    this.#tries += 1;
    this.#options.onGap();
    if (this.#tries < MAX_TRIES) this.#watch();
  }
}

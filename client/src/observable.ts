/** A value that can be watched: the shape that React's `useSyncExternalStore` wants. */

/** Reading side: `getSnapshot` answers the same object until something changed. */
export interface Store<T> {
  /** Calls `listener` after each change; answers the function that stops it. */
  readonly subscribe: (listener: () => void) => () => void;
  readonly getSnapshot: () => T;
}

/** A set of listeners; one that throws never keeps the others from hearing. */
export class Signal {
  readonly #listeners = new Set<() => void>();

  readonly subscribe = (listener: () => void): (() => void) => {
    // An own function for each call, so that the same listener may subscribe twice.
    const own = (): void => { listener(); };
    this.#listeners.add(own);
    return () => this.#listeners.delete(own);
  };

  emit(): void {
    for (const listener of [...this.#listeners]) {
      try {
        listener();
      } catch (error) {
        queueMicrotask(() => { throw error; });
      }
    }
  }
}

/** A plain value; setting an equal one tells nobody. */
export class Value<T> implements Store<T> {
  #value: T;
  readonly #signal = new Signal();
  readonly subscribe = this.#signal.subscribe;

  constructor(value: T) {
    this.#value = value;
  }

  readonly getSnapshot = (): T => this.#value;

  set(value: T): void {
    if (Object.is(value, this.#value)) return;
    this.#value = value;
    this.#signal.emit();
  }
}

/**
 * A view that is computed when somebody looks, at most once for each change. Who
 * listens is told in a microtask: once for all changes of one event or answer.
 */
export class Derived<T> implements Store<T> {
  #cached: { value: T } | undefined;
  #isQueued = false;
  readonly #signal = new Signal();
  readonly #compute: () => T;
  readonly subscribe = this.#signal.subscribe;

  constructor(compute: () => T) {
    this.#compute = compute;
  }

  readonly getSnapshot = (): T => {
    this.#cached ??= { value: this.#compute() };
    return this.#cached.value;
  };

  /** Marks it out of date: what it was computed from has changed. */
  invalidate(): void {
    this.#cached = undefined;
    if (this.#isQueued) return;
    this.#isQueued = true;
    queueMicrotask(() => {
      this.#isQueued = false;
      this.#signal.emit();
    });
  }
}

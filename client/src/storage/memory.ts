/** Storage that ends with the page: for tests, servers, and browsers that forbid IndexedDB. */

import type { OutboxStorage } from "./types.js";

/** Keeps everything in memory; pass the same one again to play a reload in a test. */
export function memoryOutbox(): OutboxStorage {
  const values = new Map<string, string>();
  return {
    get: (key) => Promise.resolve(values.get(key) ?? null),
    set: (key, value) => Promise.resolve(void values.set(key, value)),
    delete: (key) => Promise.resolve(void values.delete(key)),
    list: (prefix) =>
      Promise.resolve([...values].filter(([key]) => key.startsWith(prefix)).map(([, value]) => value)),
  };
}

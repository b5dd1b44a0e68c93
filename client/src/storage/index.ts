/** The storage for where the client runs. */

import { indexedDbOutbox } from "./indexeddb.js";
import { memoryOutbox } from "./memory.js";
import type { OutboxStorage } from "./types.js";

export { asyncStorageOutbox, type AsyncStorageLike } from "./async_storage.js";
export { indexedDbOutbox } from "./indexeddb.js";
export { memoryOutbox } from "./memory.js";
export type { OutboxStorage } from "./types.js";

/** IndexedDB where there is one, else memory. */
export function defaultOutbox(): OutboxStorage {
  return typeof indexedDB === "undefined" ? memoryOutbox() : indexedDbOutbox();
}

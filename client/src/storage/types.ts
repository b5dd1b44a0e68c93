/** Interface of the storage that keeps what must survive a reload. */

/**
 * A store of strings by key: the outbox first of all, and the sync cursor with the
 * list of conversations that belongs to it. Keys hold the server's address and the
 * user's id, so one store serves several users. A `set` that has resolved survives
 * a reload; operations of one client come one at a time.
 */
export interface OutboxStorage {
  get(key: string): Promise<string | null>;
  set(key: string, value: string): Promise<void>;
  delete(key: string): Promise<void>;
  /** The values of all keys that begin with `prefix`, in any order. */
  list(prefix: string): Promise<string[]>;
}

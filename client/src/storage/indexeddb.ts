/** Storage in a browser's IndexedDB: shared by all tabs of an origin, kept until the site's data is cleared. */

import type { OutboxStorage } from "./types.js";

const STORE = "values";

/** Opens (or makes) the database `name` at the first use; rejects where the browser forbids it. */
export function indexedDbOutbox(name = "chatserver-client"): OutboxStorage {
  let opening: Promise<IDBDatabase> | undefined;

  async function run<T>(mode: IDBTransactionMode, work: (store: IDBObjectStore) => IDBRequest<T>): Promise<T> {
    opening ??= open(name, () => { opening = undefined; });
    const database = await opening.catch((error: unknown) => {
      opening = undefined;
      throw error;
    });
    return complete(database.transaction(STORE, mode), work);
  }

  return {
    get: async (key) => ((await run("readonly", (store) => store.get(key))) as string | undefined) ?? null,
    set: async (key, value) => { await run("readwrite", (store) => store.put(value, key)); },
    delete: async (key) => { await run("readwrite", (store) => store.delete(key)); },
    list: (prefix) =>
      run("readonly", (store) => store.getAll(IDBKeyRange.bound(prefix, `${prefix}\uffff`))) as Promise<string[]>,
  };
}

function open(name: string, forget: () => void): Promise<IDBDatabase> {
  return new Promise((resolve, reject) => {
    const request = indexedDB.open(name, 1);
    request.onupgradeneeded = () => { request.result.createObjectStore(STORE); };
    request.onerror = () => { reject(request.error ?? new Error("IndexedDB could not be opened.")); };
    request.onsuccess = () => {
      const database = request.result;
      // A newer version of the package, or the user clearing data, must not wait for this tab.
      database.onversionchange = () => { database.close(); forget(); };
      database.onclose = forget;
      resolve(database);
    };
  });
}

/** Resolves when the transaction is durable, not when the request is done. */
function complete<T>(transaction: IDBTransaction, work: (store: IDBObjectStore) => IDBRequest<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    const request = work(transaction.objectStore(STORE));
    // Left to itself, a transaction waits for this page to hear of the request: a page that
    // is left meanwhile would take what it has just written with it.
    transaction.commit();
    transaction.oncomplete = () => { resolve(request.result); };
    const failed = (): void => { reject(transaction.error ?? request.error ?? new Error("IndexedDB failed.")); };
    transaction.onerror = failed;
    transaction.onabort = failed;
  });
}

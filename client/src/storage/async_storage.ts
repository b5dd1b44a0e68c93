/** Storage for React Native, on `@react-native-async-storage/async-storage` or anything shaped like it. */

import type { OutboxStorage } from "./types.js";

/** The part of AsyncStorage that is used. */
export interface AsyncStorageLike {
  getItem(key: string): Promise<string | null>;
  setItem(key: string, value: string): Promise<unknown>;
  removeItem(key: string): Promise<unknown>;
  getAllKeys(): Promise<readonly string[]>;
}

/** `new ChatClient({ storage: asyncStorageOutbox(AsyncStorage), … })` */
export function asyncStorageOutbox(storage: AsyncStorageLike): OutboxStorage {
  return {
    get: (key) => storage.getItem(key),
    set: async (key, value) => { await storage.setItem(key, value); },
    delete: async (key) => { await storage.removeItem(key); },
    list: async (prefix) => {
      const keys = (await storage.getAllKeys()).filter((key) => key.startsWith(prefix));
      const values = await Promise.all(keys.map((key) => storage.getItem(key)));
      return values.filter((value) => value !== null);
    },
  };
}

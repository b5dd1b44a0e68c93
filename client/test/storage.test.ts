/** Every storage keeps the same promise. */

import "fake-indexeddb/auto";

import { describe, expect, it, vi } from "vitest";

import { defaultOutbox } from "../src/storage/index.js";
import { asyncStorageOutbox } from "../src/storage/async_storage.js";
import { indexedDbOutbox } from "../src/storage/indexeddb.js";
import { memoryOutbox } from "../src/storage/memory.js";
import { FakeServer, makeClient, TENANT, texts } from "./kit.js";

function fakeAsyncStorage() {
  const values = new Map<string, string>();
  return {
    getItem: (key: string) => Promise.resolve(values.get(key) ?? null),
    setItem: (key: string, value: string) => Promise.resolve(void values.set(key, value)),
    removeItem: (key: string) => Promise.resolve(void values.delete(key)),
    getAllKeys: () => Promise.resolve([...values.keys()]),
  };
}

const storages = {
  memory: memoryOutbox(),
  IndexedDB: indexedDbOutbox("storage-test"),
  AsyncStorage: asyncStorageOutbox(fakeAsyncStorage()),
};

describe.each(Object.entries(storages))("the %s storage", (_name, storage) => {
  it("gives back what was set and forgets what was deleted", async () => {
    expect(await storage.get("k")).toBeNull();
    await storage.set("k", "1");
    await storage.set("k", "2");
    expect(await storage.get("k")).toBe("2");
    await storage.delete("k");
    await storage.delete("k");
    expect(await storage.get("k")).toBeNull();
  });

  it("lists by the beginning of the key", async () => {
    await storage.set("p:1", "one");
    await storage.set("p:2", "two");
    await storage.set("p", "not this");
    await storage.set("q:1", "nor this");
    expect((await storage.list("p:")).sort()).toEqual(["one", "two"]);
    expect(await storage.list("nothing")).toEqual([]);
  });
});

describe("IndexedDB", () => {
  it("keeps everything for another page, and survives a database that was closed under it", async () => {
    await indexedDbOutbox("shared").set("k", "v");
    const other = indexedDbOutbox("shared");
    expect(await other.get("k")).toBe("v");
    await new Promise((resolve) => {
      const request = indexedDB.open("shared", 2); // a newer version of the package
      request.onsuccess = () => { request.result.close(); indexedDB.deleteDatabase("shared").onsuccess = resolve; };
    });
    expect(await other.get("k")).toBeNull();
  });

  it("is the default where there is one, and carries an outbox over a reload", async () => {
    const server = new FakeServer();
    server.addConversation("a");
    const before = makeClient(server, TENANT, { storage: defaultOutbox() });
    before.conversation("a").send("not connected");
    server.isDown = true;
    before.connect();
    await vi.waitFor(async () => { expect(await defaultOutbox().list("")).not.toEqual([]); }, 60_000);
    before.close();
    server.isDown = false;
    const after = makeClient(server, TENANT, { storage: defaultOutbox() });
    after.connect();
    await new Promise((resolve) => setTimeout(resolve, 200));
    await vi.waitFor(() => {
      expect(texts(after, "a")).toEqual(["not connected"]);
      expect(server.messages("a")).toHaveLength(1);
    }, 60_000);
    after.close();
  });
});

/** What was missed is fetched: after a reload, a gap, a hint, from any page, from another database. */

import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";

import type { SyncRequest } from "../src/protocol.js";
import { memoryOutbox } from "../src/storage/memory.js";
import { refusal } from "./fake_server.js";
import { expectEqualToServer, FakeServer, LANDLORD, makeClient, pass, TENANT, texts } from "./kit.js";

let server: FakeServer;

beforeEach(() => {
  vi.useFakeTimers();
  server = new FakeServer();
});
afterEach(() => vi.useRealTimers());

const syncs = (): SyncRequest[] => server.log.filter(({ event }) => event === "sync").map(({ payload }) => payload as SyncRequest);
const say = (id: string, ...contents: string[]): void => {
  for (const content of contents) server.send(LANDLORD, { conversation_id: id, content });
};
const connected = async (options: Parameters<typeof makeClient>[2] = {}) => {
  const client = makeClient(server, TENANT, options);
  client.connect();
  await pass();
  return client;
};

describe("sync", () => {
  it("brings all conversations, a page at a time, latest activity first", async () => {
    for (let n = 0; n < 250; n += 1) server.addConversation(`c${n}`);
    say("c7", "hello");
    const client = await connected();
    const { conversations, isComplete, unreadCount } = client.conversations.getSnapshot();
    expect(conversations).toHaveLength(250);
    expect(conversations[0]).toMatchObject({ id: "c7", unread_count: 1, peer: { id: LANDLORD }, isArchived: false });
    expect(conversations[1]?.id).toBe("c249");
    expect({ isComplete, unreadCount }).toEqual({ isComplete: true, unreadCount: 1 });
    expect(syncs()).toHaveLength(3);
  });

  it("goes on after a reload from where the last visit ended, and shows the list before that", async () => {
    const storage = memoryOutbox();
    for (const id of ["a", "b"]) server.addConversation(id);
    say("a", "seen");
    const before = await connected({ storage });
    await pass(5_000);
    before.close();
    say("b", "missed");

    server.isDown = true;
    const after = await connected({ storage });
    expect(after.conversations.getSnapshot().conversations.map(({ id }) => id)).toEqual(["a", "b"]);
    expect(after.conversations.getSnapshot().isComplete).toBe(false);
    server.isDown = false;
    await pass(6_000);
    expect(syncs().at(-1)?.cursor).toBeDefined();
    expect(after.conversations.getSnapshot().conversations.map(({ id }) => id)).toEqual(["b", "a"]);
    for (const id of ["a", "b"]) expectEqualToServer(after, server, id);
  });

  it("keeps the list as soon as it is complete, for a page that is reloaded in its first seconds", async () => {
    const storage = memoryOutbox();
    server.addConversation("a");
    (await connected({ storage })).close();
    server.isDown = true;
    const after = await connected({ storage });
    expect(after.conversations.getSnapshot().conversations.map(({ id }) => id)).toEqual(["a"]);
  });

  it("waits for the last visit to be read, so that it can go on from there", async () => {
    const storage = memoryOutbox();
    server.addConversation("a");
    (await connected({ storage })).close();
    const before = await connected({ storage });
    await pass(5_000);
    before.close();
    server.log.length = 0;
    const slow = { ...storage, get: async (key: string) => {
      await new Promise((resolve) => setTimeout(resolve, 500));
      return storage.get(key);
    } };
    await connected({ storage: slow });
    expect(syncs()).toMatchObject([{ cursor: "db1:1" }]);
  });

  it("keeps the messages of 50 conversations, the ones used last", async () => {
    for (let n = 0; n < 60; n += 1) server.addConversation(`c${n}`);
    const client = await connected();
    for (let n = 0; n < 60; n += 1) say(`c${n}`, "x");
    client.conversation("c0").open();
    await pass();
    server.cut();
    await pass(5_000);
    const held = Array.from({ length: 60 }, (_, n) => `c${n}`).filter((id) => texts(client, id).length > 0);
    expect(held).toEqual(["c0", ...Array.from({ length: 49 }, (_, n) => `c${n + 11}`)]);
    expect(Object.keys(syncs().at(-1)?.open ?? {})).toHaveLength(50);
  });

  it("shows the list of one user to no other", async () => {
    const storage = memoryOutbox();
    server.addConversation("a");
    const before = await connected({ storage });
    await pass(5_000);
    before.close();
    server.isDown = true;
    const other = makeClient(server, LANDLORD, { storage });
    other.connect();
    await pass();
    expect(other.conversations.getSnapshot().conversations).toEqual([]);
  });

  it("asks each page for those open conversations that no page has brought yet", async () => {
    for (let n = 0; n < 150; n += 1) server.addConversation(`c${n}`);
    say("c0", "x");
    const client = await connected();
    client.conversation("c0").open();
    await pass();
    for (let n = 0; n < 150; n += 1) say(`c${n}`, "y");
    client.conversation("c149").open();
    await pass();
    server.log.length = 0;
    server.isDown = true;
    server.cut();
    for (let n = 0; n < 150; n += 1) say(`c${n}`, "z");
    server.isDown = false;
    await pass(6_000);
    const asked = syncs().map(({ open = {} }) => Object.keys(open));
    expect(asked[0]).toContain("c149");
    expect(asked[1]).not.toContain("c149");
    expect(texts(client, "c149")).toEqual(["y", "z"]);
  });

  it("heals an open conversation after an absence without fetching its history again", async () => {
    server.addConversation("a");
    say("a", "one", "two");
    const client = await connected();
    client.conversation("a").open();
    await pass();
    const fetched = vi.spyOn(server, "fetch");
    server.isDown = true;
    server.cut();
    await pass(2_000);
    server.change("a", 1, "one, edited");
    server.change("a", 2, null);
    say("a", "three");
    server.isDown = false;
    await pass(6_000);
    expect(texts(client, "a")).toEqual(["one, edited", "", "three"]);
    expect(syncs().at(-1)?.open?.a).toMatchObject({ seq: 2 });
    expectEqualToServer(client, server, "a");
    expect(fetched).not.toHaveBeenCalled();
  });

  it("fetches the newest page instead when more than 100 messages were missed", async () => {
    server.addConversation("a");
    say("a", "old");
    const client = await connected();
    client.conversation("a").open();
    await pass();
    server.isDown = true;
    server.cut();
    await pass(2_000);
    say("a", ...Array.from({ length: 130 }, (_, n) => `missed ${n}`));
    server.isDown = false;
    await pass(6_000);
    const { messages, hasOlder } = client.conversation("a").getSnapshot();
    expect(messages.map(({ seq }) => seq)).toEqual(Array.from({ length: 50 }, (_, n) => 82 + n));
    expect(hasOlder).toBe(true);
    for (let n = 0; n < 2; n += 1) await client.conversation("a").loadOlder();
    expect(texts(client, "a")).toHaveLength(131);
    expect(client.conversation("a").getSnapshot().hasOlder).toBe(false);
  });

  it("asks a moment after an event shows that another one is missing", async () => {
    server.addConversation("a");
    const client = await connected();
    client.conversation("a").open();
    await pass();
    const count = syncs().length;
    server.network = (send, what) => { if (what === "ack") send(); };
    say("a", "lost");
    server.network = (send) => { send(); };
    say("a", "heard");
    await pass(250);
    expect(texts(client, "a")).toEqual([]);
    expect(syncs()).toHaveLength(count);
    await pass(250);
    expect(syncs()).toHaveLength(count + 1);
    expect(texts(client, "a")).toEqual(["lost", "heard"]);
  });

  it("asks when a head hint says that there is more", async () => {
    server.addConversation("a");
    const client = await connected();
    client.conversation("a").open();
    await pass();
    server.network = (send, what) => { if (what === "ack") send(); };
    say("a", "lost");
    server.network = (send) => { send(); };
    const count = syncs().length;
    server.tell(TENANT, { name: "head", payload: { conversation_id: "a", last_seq: 0, rev: 0 } });
    await pass();
    expect(syncs()).toHaveLength(count);
    server.tell(TENANT, { name: "head", payload: { conversation_id: "a", last_seq: 1, rev: 1 } });
    await pass();
    expect(texts(client, "a")).toEqual(["lost"]);
  });

  it("loses no event that arrives before the answer of a sync, nor applies one twice", async () => {
    server.addConversation("a");
    say("a", "one");
    server.network = (send, what) => { if (what === "ack") setTimeout(send, 500); else send(); };
    const client = makeClient(server);
    client.connect();
    client.conversation("a").open();
    for (let n = 0; n < 30; n += 1) {
      await pass(100);
      say("a", `live ${n}`);
    }
    await pass(5_000);
    expect(texts(client, "a")).toEqual(["one", ...Array.from({ length: 30 }, (_, n) => `live ${n}`)]);
    expectEqualToServer(client, server, "a");
  });

  it("learns of a conversation whose creation it missed from its first message", async () => {
    const client = await connected();
    server.addConversation("new");
    say("new", "hello");
    await pass();
    expect(client.conversations.getSnapshot().conversations).toMatchObject([{ id: "new", unread_count: 1 }]);
  });

  it("takes a new conversation from its event", async () => {
    const client = await connected();
    const count = syncs().length;
    server.addConversation("new");
    server.tell(TENANT, { name: "conversation", payload: server.view("new", TENANT) });
    await pass();
    expect(client.conversations.getSnapshot().conversations).toMatchObject([{ id: "new" }]);
    expect(syncs()).toHaveLength(count);
  });

  it("drops everything of another database and starts anew", async () => {
    for (const id of ["a", "b"]) server.addConversation(id);
    say("a", "old 1", "old 2");
    const client = await connected();
    client.conversation("a").open();
    await pass();
    server.replaceDatabase();
    server.addConversation("a");
    say("a", "new");
    server.cut();
    await pass(6_000);
    expect(texts(client, "a")).toEqual(["new"]);
    expect(client.conversations.getSnapshot().conversations.map(({ id }) => id)).toEqual(["a"]);
    expectEqualToServer(client, server, "a");
    say("a", "goes on");
    await pass();
    expect(texts(client, "a")).toEqual(["new", "goes on"]);
  });

  it("starts anew when the server cannot read the cursor", async () => {
    server.addConversation("a");
    const client = await connected();
    server.fail = (event, payload) =>
      event === "sync" && (payload as SyncRequest).cursor !== undefined ? refusal("invalid_payload").toJSON() : undefined;
    server.cut();
    await pass(10_000);
    expect(client.conversations.getSnapshot()).toMatchObject({ isComplete: true, conversations: [{ id: "a" }] });
  });

  it("repeats a sync that failed for now, and makes a new connection after one that nobody answers", async () => {
    server.addConversation("a");
    let tries = 0;
    server.fail = (event) => (event === "sync" && tries++ < 2 ? refusal("unavailable", true).toJSON() : undefined);
    const client = await connected();
    await pass(5_000);
    expect(client.conversations.getSnapshot().isComplete).toBe(true);
    server.fail = (event) => (event === "sync" ? "lose" : undefined);
    const reasons: (string | null)[] = [];
    client.connection.subscribe(() => reasons.push(client.connection.getSnapshot().reason));
    server.tell(TENANT, { name: "head", payload: { conversation_id: "a", last_seq: 9, rev: 9 } });
    await pass(15_301);
    expect(reasons).toContain("timeout");
  });

  it("checks an unread counter that cannot be right", async () => {
    server.addConversation("a");
    say("a", "1");
    const client = await connected();
    const { log } = client.conversation("a");
    log.forgetMessages(); // nothing to count by: the server's word is all there is
    const counts = { unread_count: 0, total_unread_count: 0, version: 1 };
    server.tell(TENANT, { name: "unread", payload: { conversation_id: "a", ...counts } });
    await pass(100);
    expect(client.conversations.getSnapshot().unreadCount).toBe(0);
    await pass(3_000);
    expect(client.conversations.getSnapshot().unreadCount).toBe(1);
  });

  it("heals from a server that does not list receipts as changes", async () => {
    server.listsReceipts = false;
    server.addConversation("a");
    const client = await connected();
    client.conversation("a").open();
    client.conversation("a").send("read while I was away");
    await pass();
    server.isDown = true;
    server.cut();
    await pass(2_000);
    server.receipt(LANDLORD, "a", "read", 1);
    server.isDown = false;
    await pass(6_000);
    expect(client.conversation("a").getSnapshot().messages[0]).toMatchObject({ state: "read" });
    expectEqualToServer(client, server, "a");
  });
});

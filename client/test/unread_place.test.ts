/** A conversation opened at its first unread message, however many there are. */

import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";

import type { ChatClient } from "../src/client.js";
import type { ConversationSnapshot } from "../src/snapshot.js";
import { memoryOutbox } from "../src/storage/memory.js";
import { expectEqualToServer, FakeServer, LANDLORD, makeClient, pass, TENANT } from "./kit.js";

let server: FakeServer;
let tenant: ChatClient;

beforeEach(() => {
  vi.useFakeTimers();
  server = new FakeServer();
  server.addConversation("a");
  say(1, 300);
  server.receipt(TENANT, "a", "read", 60);
});
afterEach(() => {
  tenant.close();
  vi.useRealTimers();
});

const say = (from: number, to: number, by = LANDLORD): void => {
  for (let n = from; n <= to; n += 1) server.send(by, { conversation_id: "a", content: `${n}` });
};
const shown = (): ConversationSnapshot => tenant.conversation("a").getSnapshot();
const seqs = (): number[] => shown().messages.map(({ seq }) => seq ?? 0);
const range = (): string => `${seqs()[0]}-${seqs().at(-1)}`;

async function open(): Promise<void> {
  tenant = makeClient(server, TENANT);
  tenant.connect();
  await pass();
  tenant.conversation("a").open("unread");
  await pass();
}

describe("opened at the first unread one", () => {
  it("shows nothing until it is found, then what stands around it, and not the newest", async () => {
    tenant = makeClient(server, TENANT);
    tenant.connect();
    await pass();
    const seen: string[] = [];
    tenant.conversation("a").subscribe(() => {
      seen.push(range());
      expect(shown().isLoading).toBe(shown().messages.length === 0);
    });
    tenant.conversation("a").open("unread");
    expect(shown()).toMatchObject({ messages: [], isLoading: true, isOpen: true });
    await pass();
    expect(new Set(seen)).toEqual(new Set(["undefined-undefined", "36-85"]));
    expect(shown()).toMatchObject({ hasOlder: true, hasNewer: true, isLoading: false });
    expect(shown().conversation).toMatchObject({ unread_count: 240, read_seq: 60 });
  });

  it("loads both ways, without a gap, until the newest are reached", async () => {
    await open();
    await tenant.conversation("a").loadOlder();
    expect(range()).toBe("1-85");
    expect(shown().hasOlder).toBe(false);
    for (let pages = 0; shown().hasNewer; pages += 1) {
      expect(pages).toBeLessThan(6);
      await tenant.conversation("a").loadNewer();
    }
    expect(seqs()).toEqual(Array.from({ length: 300 }, (_, n) => n + 1));
    await pass();
    expectEqualToServer(tenant, server, "a");
  });

  it("counts down as it is read, before the server has said so", async () => {
    await open();
    server.network = (send, what) => { if (what !== "unread" && what !== "read_receipt") send(); };
    tenant.conversation("a").markRead(70);
    expect(shown().conversation).toMatchObject({ unread_count: 230, read_seq: 70 });
    expect(tenant.conversations.getSnapshot().unreadCount).toBe(230);
  });

  it("keeps its place while others write, edit and read", async () => {
    await open();
    say(301, 303);
    server.change("a", 61, "edited");
    server.change("a", 62, null);
    say(304, 304, TENANT);
    server.receipt(LANDLORD, "a", "read", 304);
    await pass();
    expect(range()).toBe("36-85");
    expect(shown().messages[25]).toMatchObject({ seq: 61, content: "edited" });
    expect(shown().messages[26]).toMatchObject({ seq: 62, is_deleted: true });
    expect(shown().conversation).toMatchObject({ last_seq: 304, unread_count: 242 });
  });

  it("jumps to the newest and back on demand", async () => {
    await open();
    tenant.conversation("a").toNewest();
    expect(range()).toBe("251-300");
    expect(shown()).toMatchObject({ hasNewer: false, conversation: { unread_count: 240, read_seq: 60 } });
    say(301, 301);
    expect(range()).toBe("251-301");
    tenant.conversation("a").toUnread();
    await pass();
    expect(range()).toBe("36-85");
  });

  it("shows the newest when this user writes", async () => {
    await open();
    tenant.conversation("a").send("mine");
    expect(shown().messages.at(-1)).toMatchObject({ content: "mine", state: "sending" });
    await pass();
    expect(range()).toBe("251-301");
    expect(shown().conversation?.unread_count).toBe(240);
  });

  it("finds it behind many own messages", async () => {
    server.receipt(TENANT, "a", "read", 300);
    say(301, 400, TENANT);
    say(401, 500);
    await open();
    expect(seqs()).toContain(401);
    expect(shown().hasNewer).toBe(true);
    expect(seqs()).toEqual(seqs().map((_, index) => (seqs()[0] ?? 0) + index));
  });

  it("is the newest page where that has the first unread one, or nothing is unread", async () => {
    server.receipt(TENANT, "a", "read", 280);
    await open();
    expect(range()).toBe("251-300");
    expect(shown().hasNewer).toBe(false);
    tenant.close();
    server.receipt(TENANT, "a", "read", 300);
    await open();
    expect(range()).toBe("251-300");
  });

  it("is found again when too much was missed", async () => {
    await open();
    server.isDown = true;
    server.cut();
    say(301, 450);
    server.isDown = false;
    await pass(10_000);
    expect(range()).toBe("36-85");
    expect(shown().conversation).toMatchObject({ last_seq: 450, unread_count: 390 });
  });

  it("says why it could not be found, and goes on trying", async () => {
    tenant = makeClient(server, TENANT);
    tenant.connect();
    await pass();
    server.refuseRest = () => Response.json({ code: "rate_limited", detail: "", retryable: true, retry_after: 20 }, { status: 429 });
    tenant.conversation("a").open("unread");
    await pass(19_000);
    expect(shown()).toMatchObject({ isLoading: false, error: { code: "rate_limited", retry_after: 20 } });
    server.refuseRest = () => undefined;
    await pass(3_000);
    expect(range()).toBe("36-85");
  });
});

describe("offline", () => {
  it("shows what waits to be sent, with what the last visit knew", async () => {
    server.receipt(TENANT, "a", "read", 300);
    const storage = memoryOutbox();
    const before = makeClient(server, TENANT, { storage });
    before.connect();
    await pass(5_000);
    server.isDown = true;
    server.cut();
    before.conversation("a").send("later");
    await pass(5_000);
    before.close();
    tenant = makeClient(server, TENANT, { storage });
    tenant.connect();
    let last = shown();
    tenant.conversation("a").subscribe(() => { last = shown(); }); // as a screen looks at it
    tenant.conversation("a").open("unread");
    await pass(5_000);
    expect(last.messages).toEqual(shown().messages);
    expect(shown().messages.map(({ content, state }) => [content, state])).toEqual([["later", "sending"]]);
    expect(shown().conversation?.unread_count).toBe(0);
  });
});

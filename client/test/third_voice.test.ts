/** Admins and the host's service in a conversation of two: nothing is theirs or others' that is not. */

import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";

import type { ChatClient } from "../src/client.js";
import { ADMIN } from "./fake_server.js";
import { FakeServer, LANDLORD, makeClient, pass, TENANT } from "./kit.js";

let server: FakeServer;
let tenant: ChatClient;
let admin: ChatClient;

beforeEach(async () => {
  vi.useFakeTimers();
  server = new FakeServer();
  server.addConversation("a");
  tenant = makeClient(server, TENANT);
  admin = makeClient(server, ADMIN);
  tenant.connect();
  admin.connect();
  await pass();
  admin.conversation("a").open("unread");
  await pass();
});
afterEach(() => {
  tenant.close();
  admin.close();
  vi.useRealTimers();
});

const first = (client: ChatClient) => client.conversation("a").getSnapshot().messages[0];

describe("a third voice", () => {
  it("is told by role and name, and its message is its own", async () => {
    admin.conversation("a").send("Is all well?");
    await pass();
    expect(first(tenant)).toMatchObject({ isOwn: false, sender_role: "admin", sender: { id: ADMIN, first_name: "3" } });
    expect(first(admin)).toMatchObject({ isOwn: true, sender_role: "admin" });
    expect(tenant.conversations.getSnapshot().conversations[0]).toMatchObject({ isParticipant: true, unread_count: 1 });
  });

  it("has nothing unread and reports nothing: the two are not its peers", async () => {
    server.send(LANDLORD, { conversation_id: "a", content: "x" });
    await pass();
    admin.conversation("a").markRead();
    admin.conversation("a").markRead(1);
    await pass();
    expect(admin.conversations.getSnapshot()).toMatchObject({ unreadCount: 0, conversations: [{ isParticipant: false }] });
    expect(server.log.filter(({ userId, event }) => userId === ADMIN && ["read", "delivered"].includes(event))).toEqual([]);
  });

  it("sees two ticks when either has told, and of others' messages what their recipient told", async () => {
    admin.conversation("a").send("to both");
    await pass();
    server.send(LANDLORD, { conversation_id: "a", content: "to the tenant" });
    await pass();
    const states = (): (string | undefined)[] => admin.conversation("a").getSnapshot().messages.map(({ state }) => state);
    expect(states()).toEqual(["delivered", "delivered"]);
    server.receipt(LANDLORD, "a", "read", 2);
    expect(states()).toEqual(["read", "delivered"]);
    server.receipt(TENANT, "a", "read", 2);
    expect(states()).toEqual(["read", "read"]);
  });

  it("moves no cursor of the peer, whatever it reads", async () => {
    tenant.conversation("a").send("mine");
    await pass();
    server.tell(TENANT, { name: "read_receipt", payload: {
      conversation_id: "a", message_id: "", seq: 1, read_by: ADMIN, read_at: "2026-01-01T00:01:00.000000Z", rev: 2,
    } });
    expect(first(tenant)?.state).toBe("sent");
    expect(tenant.conversation("a").log.rev).toBe(2);
  });

  it("that types is not the peer", () => {
    server.tell(TENANT, { name: "typing", payload: { conversation_id: "a", user_id: ADMIN, is_typing: true, timestamp: "" } });
    expect(tenant.conversations.getSnapshot().conversations[0]?.isPeerTyping).toBe(false);
    expect(tenant.conversation("a").getSnapshot().typingUserIds).toEqual([ADMIN]);
  });
});

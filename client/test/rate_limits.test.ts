/** A rate limit, wherever it is met: everything waits as long as the server says, and nothing is lost. */

import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";

import type { ChatClient } from "../src/client.js";
import type { Requests } from "../src/protocol.js";
import { refusal } from "./fake_server.js";
import { FakeServer, LANDLORD, makeClient, pass, TENANT, texts } from "./kit.js";

let server: FakeServer;
let tenant: ChatClient;

beforeEach(async () => {
  vi.useFakeTimers();
  server = new FakeServer();
  for (const id of ["a", "b"]) server.addConversation(id);
  tenant = makeClient(server, TENANT);
  tenant.connect();
  await pass();
});
afterEach(() => {
  tenant.close();
  vi.useRealTimers();
});

const count = (event: keyof Requests): number => server.log.filter((entry) => entry.event === event).length;

/** Refuses these events for `seconds` from now on. */
function limit(seconds: number, ...events: (keyof Requests)[]): void {
  const end = Date.now() + seconds * 1000;
  server.fail = (event) => (events.includes(event) && Date.now() < end
    ? refusal("rate_limited", true, Math.ceil((end - Date.now()) / 1000)).toJSON() : undefined);
}

describe("a rate limit", () => {
  it("holds every conversation's messages back, says until when, and lets them go in order", async () => {
    limit(20, "message");
    for (const text of ["one", "two"]) tenant.conversation("a").send(text);
    await pass(100);
    tenant.conversation("b").send("elsewhere");
    await pass(100);
    expect(count("message")).toBe(1);
    for (const id of ["a", "b"]) {
      const { heldUntil } = tenant.conversation(id).getSnapshot();
      expect((heldUntil ?? 0) - Date.now()).toBeGreaterThan(18_000);
    }
    await pass(25_000);
    expect(server.messages("a").map(({ content }) => content)).toEqual(["one", "two"]);
    expect(texts(tenant, "b")).toEqual(["elsewhere"]);
    expect(tenant.conversation("a").getSnapshot().heldUntil).toBeNull();
  });

  it("outlives a reconnect", async () => {
    limit(60, "message");
    tenant.conversation("a").send("patient");
    await pass(1_000);
    for (let cuts = 0; cuts < 5; cuts += 1) {
      server.cut();
      await pass(6_000);
    }
    expect(count("message")).toBe(1);
    await pass(40_000);
    expect(texts(tenant, "a")).toEqual(["patient"]);
  });

  it("never costs a message, not even when the server forgets to call it retryable", async () => {
    server.fail = (event) => (event === "message" ? refusal("rate_limited", false, 5).toJSON() : undefined);
    tenant.conversation("a").send("kept");
    await pass(600_000);
    expect(tenant.conversation("a").getSnapshot().messages[0]).toMatchObject({ state: "sending" });
    server.fail = () => undefined;
    await pass(60_000);
    expect(server.messages("a").map(({ content }) => content)).toEqual(["kept"]);
  });

  it.each([["read", 1], ["join", 1], ["sync", 1]] as const)("on %s is waited for", async (event, tries) => {
    server.send(LANDLORD, { conversation_id: "a", content: "x" });
    await pass();
    limit(30, event);
    const before = count(event);
    tenant.conversation("a").markRead();
    tenant.conversation("a").open();
    tenant.reconnect(); // it asks for a sync
    for (let asked = 0; asked < 20; asked += 1) {
      tenant.reconnect();
      await pass(1_400);
    }
    expect(count(event) - before).toBe(tries);
    await pass(20_000);
    expect(count(event) - before).toBeGreaterThan(tries);
    if (event === "read") expect(server.view("a", TENANT).unread_count).toBe(0);
  });

  it("on a page of history is shown, waited for and over by itself", async () => {
    server.send(LANDLORD, { conversation_id: "a", content: "x" });
    await pass();
    tenant.conversation("a").log.forgetMessages();
    let calls = 0;
    server.refuseRest = () => {
      calls += 1;
      return new Response("slow down", { status: 429, headers: { "Retry-After": "20" } });
    };
    tenant.conversation("a").open();
    await pass(19_000);
    expect(calls).toBe(1);
    expect(tenant.conversation("a").getSnapshot().error).toMatchObject({ code: "rate_limited", retry_after: 20, retryable: true });
    server.refuseRest = () => undefined;
    await pass(2_000);
    expect(texts(tenant, "a")).toEqual(["x"]);
  });

  it("on a handshake is waited for, whoever wakes the page meanwhile", async () => {
    let handshakes = 0;
    server.refuse = () => {
      handshakes += 1;
      return refusal("rate_limited", true, 30).toJSON();
    };
    server.cut();
    await pass(2_000);
    expect(handshakes).toBe(1);
    expect(tenant.connection.getSnapshot()).toMatchObject({ status: "offline", reason: "rate_limited" });
    for (let wakes = 0; wakes < 10; wakes += 1) {
      tenant.reconnect();
      await pass(1_000);
    }
    tenant.close();
    tenant.connect();
    await pass(10_000);
    expect(handshakes).toBe(1);
    server.refuse = () => undefined;
    await pass(20_000);
    expect(tenant.connection.getSnapshot().status).toBe("online");
  });

  it("that ends a connection is waited for before the next one", async () => {
    server.tell(TENANT, { name: "error", payload: refusal("rate_limited", true, 15).toJSON() });
    for (const socket of [...server.sockets]) socket.cut("io server disconnect");
    await pass(14_000);
    expect(tenant.connection.getSnapshot().status).toBe("offline");
    await pass(3_000);
    expect(tenant.connection.getSnapshot().status).toBe("online");
  });
});

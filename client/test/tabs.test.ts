/** Several tabs of one browser: one sends, all show, nothing goes out twice. */

import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";

import type { ChatClient } from "../src/client.js";
import type { SendMessage } from "../src/protocol.js";
import { memoryOutbox } from "../src/storage/memory.js";
import { FakeServer, makeClient, TENANT, texts } from "./kit.js";
import { FakeLocks } from "./locks.js";

let server: FakeServer;
let tabs: ChatClient[] = [];

/** Channels between tabs need real time. */
const settle = (ms = 60): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));
/** What has come to be after `ms`; a busy machine may take longer, and then it is waited for. */
const comes = async (check: () => void, ms = 60): Promise<void> => {
  await settle(ms);
  await vi.waitFor(check, { timeout: 60_000, interval: 20 });
};
const sends = (): string[] =>
  server.log.filter(({ event }) => event === "message").map(({ payload }) => (payload as SendMessage).content ?? "");

async function openTabs(count: number): Promise<ChatClient[]> {
  const storage = memoryOutbox();
  tabs = Array.from({ length: count }, () => makeClient(server, TENANT, { storage }));
  for (const tab of tabs) tab.connect();
  await comes(() => { for (const tab of tabs) expect(tab.connection.getSnapshot().status).toBe("online"); });
  return tabs;
}

beforeEach(() => {
  server = new FakeServer();
  server.addConversation("a");
});
afterEach(() => {
  for (const tab of tabs) tab.close();
  vi.unstubAllGlobals();
});

describe.each(["with locks", "without locks"])("two tabs %s", (kind) => {
  let locks: FakeLocks;
  beforeEach(() => {
    locks = new FakeLocks();
    vi.stubGlobal("navigator", kind === "with locks" ? { locks } : {});
  });

  it("both show what one of them has written offline, and the server gets it once, in order", async () => {
    const [one, two] = await openTabs(2) as [ChatClient, ChatClient];
    server.isDown = true;
    server.cut();
    one.conversation("a").send("from one");
    await comes(() => { expect(texts(two, "a")).toEqual(["from one"]); });
    two.conversation("a").send("from two");
    await comes(() => { for (const tab of tabs) expect(texts(tab, "a")).toEqual(["from one", "from two"]); });
    server.isDown = false;
    for (const tab of tabs) tab.reconnect();
    await comes(() => {
      expect(server.messages("a").map(({ content }) => content)).toEqual(["from one", "from two"]);
      for (const tab of tabs) expect(texts(tab, "a")).toEqual(["from one", "from two"]);
    }, 200);
    if (kind === "with locks") expect(sends()).toEqual(["from one", "from two"]);
    expect(locks.most).toBe(kind === "with locks" ? 1 : 0);
  });

  it("let the other tab send what a closed one has left", async () => {
    const [one, two] = await openTabs(2) as [ChatClient, ChatClient];
    server.isDown = true;
    server.cut();
    one.conversation("a").send("left behind");
    await comes(() => { expect(texts(two, "a")).toEqual(["left behind"]); });
    one.close();
    server.isDown = false;
    two.reconnect();
    await comes(() => {
      expect(server.messages("a").map(({ content }) => content)).toEqual(["left behind"]);
      expect(texts(two, "a")).toEqual(["left behind"]);
    }, 200);
  });

  it("both know that a message was sent, also the one that hears no event of it", async () => {
    const [one, two] = await openTabs(2) as [ChatClient, ChatClient];
    server.network = (send, what) => { if (what === "ack") send(); };
    one.conversation("a").send("x");
    await comes(() => {
      for (const tab of [one, two]) {
        expect(tab.conversation("a").getSnapshot().messages).toMatchObject([{ content: "x", state: "sent" }]);
      }
    }, 100);
  });

  it("never show a message twice or let it flicker while it is being sent", async () => {
    const [one, two] = await openTabs(2) as [ChatClient, ChatClient];
    server.network = (send, what) => { setTimeout(send, what === "message" ? 80 : 15); };
    const seen = new Set<string>();
    two.conversation("a").subscribe(() => seen.add(texts(two, "a").join()));
    for (const text of ["1", "2", "3"]) one.conversation("a").send(text);
    await comes(() => { expect(texts(two, "a")).toEqual(["1", "2", "3"]); }, 500);
    const lengths = [...seen].map((list) => list.length);
    expect(lengths).toEqual([...lengths].sort((a, b) => a - b));
  });
});

describe("where locks are refused", () => {
  it("sends all the same", async () => {
    vi.stubGlobal("navigator", { locks: { request: () => Promise.reject(new Error("SecurityError")) } });
    const [one] = await openTabs(1) as [ChatClient];
    one.conversation("a").send("x");
    await comes(() => { expect(sends()).toEqual(["x"]); });
  });
});

describe("a closed tab", () => {
  it("that waited for a lock does nothing when its turn comes", async () => {
    let grant: () => void = () => undefined;
    vi.stubGlobal("navigator", { locks: {
      request: async (_: string, { signal }: { signal: AbortSignal }, work: () => Promise<void>) => {
        await new Promise<void>((resolve) => { grant = resolve; });
        signal.throwIfAborted();
        await work();
      },
    } });
    const [one] = await openTabs(1) as [ChatClient];
    one.conversation("a").send("x");
    await settle();
    one.close();
    grant();
    await settle();
    expect(sends()).toEqual([]);
  });
});

// @vitest-environment happy-dom
/** The hooks: what a component sees, with a provider and without. */

import { act, cleanup, configure, render, renderHook, waitFor } from "@testing-library/react";
import { StrictMode, type ReactNode } from "react";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";

import { ChatClient } from "../src/client.js";
import { ChatProvider, useChat, useChatClient, useConnection, useConversations, useUnreadCount } from "../src/react/index.js";
import { tokenFor } from "./fake_server.js";
import { FakeServer, LANDLORD, makeClient, TENANT } from "./kit.js";

configure({ asyncUtilTimeout: 60_000 }); // a busy machine may stand still

let server: FakeServer;
let client: ChatClient;
const wrapper = ({ children }: { children: ReactNode }) => (
  <StrictMode><ChatProvider client={client}>{children}</ChatProvider></StrictMode>
);

beforeEach(() => {
  server = new FakeServer();
  server.addConversation("a");
  server.addConversation("b");
  client = makeClient(server);
});
afterEach(() => {
  cleanup();
  client.close();
});

describe("useChat", () => {
  it("shows a conversation, sends, and shows the answer", async () => {
    server.send(LANDLORD, { conversation_id: "a", content: "hello" });
    const { result } = renderHook(() => useChat("a"), { wrapper });
    expect(result.current).toMatchObject({ messages: [], isConnected: false, isLoading: true });
    await waitFor(() => { expect(result.current.messages).toHaveLength(1); });
    expect(result.current.isConnected).toBe(true);
    act(() => { result.current.sendMessage("hi"); });
    await waitFor(() => { expect(result.current.messages.map(({ content, state }) => [content, state])).toEqual([["hello", "delivered"], ["hi", "sent"]]); });
    act(() => { result.current.markRead(); });
    await waitFor(() => { expect(server.view("a", TENANT).unread_count).toBe(0); });
    const id = result.current.messages[1]?.id ?? "";
    await act(() => result.current.edit(id, "hi!"));
    await act(() => result.current.remove(id));
    await waitFor(() => { expect(result.current.messages[1]).toMatchObject({ is_deleted: true }); });
  });

  it("keeps its functions, and changes them with the conversation", async () => {
    const { result, rerender } = renderHook(({ id }) => useChat(id), { wrapper, initialProps: { id: "a" } });
    await waitFor(() => { expect(result.current.isLoading).toBe(false); });
    const { sendMessage } = result.current;
    rerender({ id: "a" });
    expect(result.current.sendMessage).toBe(sendMessage);
    rerender({ id: "b" });
    act(() => { result.current.sendMessage("for b"); });
    await waitFor(() => { expect(server.messages("b")).toHaveLength(1); });
    await waitFor(() => { expect(server.log.filter(({ event }) => event === "leave")).toHaveLength(1); });
  });

  it("needs a token or a provider", () => {
    vi.spyOn(console, "error").mockImplementation(() => undefined);
    expect(() => renderHook(() => useChat("a"))).toThrow("needs a token");
    expect(() => renderHook(() => useChatClient())).toThrow("<ChatProvider>");
  });

  it("shares one connection between hooks of the same token, and closes it after the last", async () => {
    vi.useFakeTimers();
    const connect = vi.spyOn(ChatClient.prototype, "connect").mockReturnValue();
    const close = vi.spyOn(ChatClient.prototype, "close");
    const setToken = vi.spyOn(ChatClient.prototype, "setToken").mockReturnValue();
    const token = tokenFor(TENANT);
    const both = (jwt: string) => renderHook(({ t }) => [useChat("a", t), useChat("b", t)], { initialProps: { t: jwt } });
    const { rerender, unmount } = both(token);
    expect(new Set(connect.mock.contexts).size).toBe(1);
    rerender({ t: tokenFor(TENANT, 4_000_000_001) });
    expect(setToken).toHaveBeenCalledTimes(1);
    expect(new Set(connect.mock.contexts).size).toBe(1);
    unmount();
    await vi.advanceTimersByTimeAsync(1_000);
    expect(close).not.toHaveBeenCalled();
    await vi.advanceTimersByTimeAsync(1_500);
    expect(close).toHaveBeenCalledTimes(1);
    vi.useRealTimers();
  });
});

describe("the lists", () => {
  it("show conversations, the unread total and the connection, and render once for one event", async () => {
    let renders = 0;
    const { result } = renderHook(() => {
      renders += 1;
      return { list: useConversations(), unread: useUnreadCount(), connection: useConnection() };
    }, { wrapper });
    await waitFor(() => { expect(result.current.list.conversations).toHaveLength(2); });
    expect(result.current.connection.status).toBe("online");
    await new Promise((resolve) => setTimeout(resolve, 50));
    const before = renders;
    act(() => { server.send(LANDLORD, { conversation_id: "a", content: "x" }); });
    await waitFor(() => { expect(result.current.unread).toBe(1); });
    expect(renders - before).toBeLessThanOrEqual(6);
    expect(result.current.list.conversations[0]).toMatchObject({ id: "a", unread_count: 1 });
  });

  it("re-render no row whose conversation did not change", async () => {
    const rows: Record<string, object[]> = { a: [], b: [] };
    function List() {
      for (const item of useConversations().conversations) rows[item.id]?.push(item);
      return null;
    }
    render(<List />, { wrapper });
    await waitFor(() => { expect(rows.b?.length).toBeGreaterThan(0); });
    await new Promise((resolve) => setTimeout(resolve, 50));
    const b = rows.b?.at(-1);
    act(() => { server.send(LANDLORD, { conversation_id: "a", content: "x" }); });
    await waitFor(() => { expect(rows.a?.at(-1)).toMatchObject({ unread_count: 1 }); });
    expect(rows.b?.at(-1)).toBe(b);
  });
});

describe("a page", () => {
  it("that comes back from the background or a dead network connects at once", async () => {
    renderHook(() => useConnection(), { wrapper });
    await waitFor(() => { expect(client.connection.getSnapshot().status).toBe("online"); });
    server.cut();
    expect(client.connection.getSnapshot().status).toBe("offline");
    window.dispatchEvent(new Event("online"));
    await waitFor(() => { expect(client.connection.getSnapshot().status).toBe("online"); });
    server.cut();
    document.dispatchEvent(new Event("visibilitychange"));
    await waitFor(() => { expect(client.connection.getSnapshot().status).toBe("online"); });
  });
});

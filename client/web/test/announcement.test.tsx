/** What the host announces: shown until dismissed, read out, and only the latest. */

import type { ChatClient, NoticeEvent } from "chatserver-client";
import { ChatProvider } from "chatserver-client/react";
import { act, fireEvent, screen } from "@testing-library/react";
import { expect, test } from "vitest";

import { Announcement } from "../src/announcement";
import { renderPage } from "./kit";

const listeners = new Set<(notice: NoticeEvent) => void>();
const client = {
  connect: () => undefined,
  onNotice: (listener: (notice: NoticeEvent) => void) => {
    listeners.add(listener);
    return () => { listeners.delete(listener); };
  },
} as unknown as ChatClient;

const announce = (content: string): void => {
  act(() => { for (const hear of listeners) hear({ content, data: null, timestamp: "2026-01-31T12:00:00.000000Z" }); });
};

test("a notice appears in a region that was there before, and goes when it is dismissed", () => {
  const page = renderPage(<ChatProvider client={client}><Announcement /></ChatProvider>);
  const region = screen.getByRole("status");
  expect(region.textContent).toBe("");
  expect(screen.queryByRole("button")).toBeNull();

  announce("A las 14:00 paramos <b>un momento</b>");
  announce("A las 15:00 paramos");
  expect(region.textContent).toBe("A las 15:00 paramos");

  fireEvent.click(screen.getByRole("button", { name: "Cerrar este aviso" }));
  expect(region.textContent).toBe("");
  expect(screen.queryByRole("button")).toBeNull();

  page.unmount();
  expect(listeners.size).toBe(0);
});

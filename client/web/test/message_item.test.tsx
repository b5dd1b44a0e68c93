/** One message: its state in words, and what can be done with it. */

import type { ChatMessage } from "chatserver-client";
import { fireEvent, screen, within } from "@testing-library/react";
import { beforeAll, expect, test, vi } from "vitest";

import { MessageItem, type MessageActions } from "../src/pane/message_item";
import { message, renderPage } from "./kit";

const own = { isOwn: true, sender_id: "me", created_at: new Date().toISOString() };

beforeAll(() => {
  HTMLElement.prototype.showPopover = () => undefined; // happy-dom has no top layer
});

function show(shown: ChatMessage): { item: HTMLElement; actions: MessageActions } {
  const actions: MessageActions = {
    reply: vi.fn(), edit: vi.fn(), remove: vi.fn(), copy: vi.fn(), retry: vi.fn(), discard: vi.fn(), show: vi.fn(),
  };
  renderPage(
    <MessageItem
      message={shown} peerName="Javier" startsRun endsRun isTabStop isHighlighted={false} quoted={undefined} actions={actions}
    />,
  );
  return { item: screen.getByRole("listitem"), actions };
}

function menuOf(item: HTMLElement): string[] {
  fireEvent.keyDown(item, { key: "Enter" });
  return screen.getAllByRole("menuitem").map((entry) => entry.textContent);
}

test.each([["sending", "Enviando"], ["sent", "Enviado"], ["delivered", "Entregado"], ["read", "Leído"]] as const)(
  "an own message that is %s says so", (state, word) => {
    expect(within(show(message(1, { ...own, state })).item).getByText(word)).toBeTruthy();
  },
);

test("another's message has no ticks, and can only be answered and copied", () => {
  const { item } = show(message(1));
  expect(within(item).queryByText("Enviado")).toBeNull();
  expect(menuOf(item)).toEqual(["Responder", "Copiar texto"]);
});

test("an own message can be changed for a quarter of an hour, and always be deleted", () => {
  expect(menuOf(show(message(1, own)).item)).toEqual(["Responder", "Copiar texto", "Editar", "Eliminar"]);
});

test("an old one only be deleted", () => {
  const created_at = new Date(Date.now() - 16 * 60_000).toISOString();
  expect(menuOf(show(message(1, { ...own, created_at })).item)).toEqual(["Responder", "Copiar texto", "Eliminar"]);
});

test("a menu closes with Escape and gives the focus back", () => {
  const { item } = show(message(1));
  menuOf(item);
  fireEvent.keyDown(screen.getByRole("menu"), { key: "Escape" });
  expect(screen.queryByRole("menu")).toBeNull();
  expect(document.activeElement).toBe(within(item).getByRole("button", { name: "Acciones del mensaje" }));
});

test("a failed message says why, and can be sent again or thrown away", () => {
  const error = { code: "content_rejected", detail: "", retryable: false };
  const { item, actions } = show(message(1, { ...own, id: null, seq: null, state: "failed", error }));
  expect(within(item).getByRole("alert").textContent).toContain("El servidor no acepta este texto.");
  fireEvent.click(within(item).getByText("Reintentar"));
  fireEvent.click(within(item).getByText("Descartar"));
  expect(actions.retry).toHaveBeenCalledExactlyOnceWith("key-1");
  expect(actions.discard).toHaveBeenCalledExactlyOnceWith("key-1");
});

test("of a deleted one nothing is left but that it was there", () => {
  const { item } = show(message(1, { ...own, content: "", is_deleted: true, edited_at: own.created_at }));
  expect(within(item).getByText("Mensaje eliminado")).toBeTruthy();
  expect(within(item).queryByRole("button")).toBeNull();
});

/** One message: its state in words, and what can be done with it. */

import type { ChatMessage } from "chatserver-client";
import { fireEvent, screen, within } from "@testing-library/react";
import { beforeAll, expect, test, vi } from "vitest";

import { MessageItem, type MessageActions } from "../src/pane/message_item";
import type { People } from "../src/people";
import { ADMIN, message, people, renderPage } from "./kit";

const own = { isOwn: true, sender_id: "me", created_at: new Date().toISOString() };

beforeAll(() => {
  HTMLElement.prototype.showPopover = () => undefined; // happy-dom has no top layer
});

function show(shown: ChatMessage, seenBy: People = people(), editWindow = 900): { item: HTMLElement; actions: MessageActions } {
  const actions: MessageActions = {
    reply: vi.fn(), edit: vi.fn(), remove: vi.fn(), copy: vi.fn(), retry: vi.fn(), discard: vi.fn(), show: vi.fn(),
  };
  renderPage(
    <MessageItem
      message={shown} people={seenBy} startsRun endsRun isTabStop isHighlighted={false} isUnseen={false} editWindow={editWindow}
      quoted={undefined} actions={actions}
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

test("the server says for how long a text can be changed", () => {
  const created_at = new Date(Date.now() - 20_000).toISOString();
  expect(menuOf(show(message(1, { ...own, created_at }), people(), 30).item)).toContain("Editar");
  document.body.replaceChildren();
  expect(menuOf(show(message(1, { ...own, created_at }), people(), 10).item)).not.toContain("Editar");
});

const third = { sender_id: "admin", sender_role: "admin", sender: ADMIN } as const;

test("a third voice is named, with its role, and is not the other's", () => {
  const { item } = show(message(1, third));
  expect(within(item).getByTestId("byline").textContent).toBe("Álvaro CastroAdministración");
  expect(item.dataset.third).toBe("true");
  expect(item.textContent).not.toContain("Javier");
});

test("a third voice that the host has deleted is still its role, and a role of a newer server is somebody", () => {
  expect(show(message(1, { ...third, sender: null })).item.textContent).toContain("Administración");
  document.body.replaceChildren();
  expect(show(message(1, { ...third, sender: null, sender_role: "agent" as never })).item.textContent).toContain("Otra persona");
});

test("a system message says whose it is", () => {
  const sender = { ...ADMIN, first_name: "EasyRent", last_name: "Avisos" };
  const { item } = show(message(1, { ...third, sender, sender_role: "service", message_type: "system" }));
  expect(within(item).getByTestId("byline").textContent).toBe("EasyRent AvisosServicio de la plataforma");
});

test("to a third voice both people are named with their roles, and its own messages are its own", () => {
  expect(within(show(message(1), people(false)).item).getByTestId("byline").textContent).toBe("Javier MorenoPropietario/a");
  document.body.replaceChildren();
  const { item } = show(message(1, { ...third, ...own }), people(false));
  expect(within(item).queryByTestId("byline")).toBeNull();
  expect(item.dataset.own).toBe("true");
  expect(item.textContent).toContain("Tú:");
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

test("the fields of a refusal are said in words, by the message that they are about", () => {
  const fields = { content: ["must not be longer than 5000 characters", "must not be pink"] };
  const error = { code: "invalid_payload", detail: "", retryable: false, fields };
  const { item } = show(message(1, { ...own, id: null, seq: null, state: "failed", error }));
  expect(within(item).getByRole("alert").textContent).toContain("Texto: no puede tener más de 5000 caracteres, must not be pink.");
});

test("of a deleted one nothing is left but that it was there", () => {
  const { item } = show(message(1, { ...own, content: "", is_deleted: true, edited_at: own.created_at }));
  expect(within(item).getByText("Mensaje eliminado")).toBeTruthy();
  expect(within(item).queryByRole("button")).toBeNull();
});

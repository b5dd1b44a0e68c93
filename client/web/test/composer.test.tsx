/** Writing: which keys send, and what may be sent. */

import { act, fireEvent, screen } from "@testing-library/react";
import { useState, type ReactElement } from "react";
import { afterEach, beforeEach, expect, test, vi } from "vitest";

import { ComposerForm } from "../src/pane/composer_form";
import { renderPage } from "./kit";

const onSubmit = vi.fn<(text: string) => void>();
const onRecall = vi.fn();
beforeEach(() => {
  onSubmit.mockClear();
  onRecall.mockClear();
});

afterEach(() => { vi.useRealTimers(); });

function Field({ problem, heldUntil }: { problem?: string; heldUntil?: number }): ReactElement {
  const [value, setValue] = useState("");
  return (
    <ComposerForm
      value={value} onChange={setValue} onSubmit={onSubmit} onRecall={onRecall} label="Mensaje"
      submit={{ label: "Enviar", icon: "send" }} maxLength={5_000} problem={problem ?? null} heldUntil={heldUntil ?? null}
    />
  );
}

function write(text: string): HTMLElement {
  renderPage(<Field />);
  const field = screen.getByRole("textbox", { name: "Mensaje" });
  fireEvent.change(field, { target: { value: text } });
  return field;
}

test("Enter sends without the blanks around", () => {
  fireEvent.keyDown(write("  hola\n"), { key: "Enter" });
  expect(onSubmit).toHaveBeenCalledExactlyOnceWith("hola");
});

test("Shift and Enter make a new line, and Enter in an input method a word", () => {
  const field = write("hola");
  fireEvent.keyDown(field, { key: "Enter", shiftKey: true });
  fireEvent.keyDown(field, { key: "Enter", isComposing: true });
  expect(onSubmit).not.toHaveBeenCalled();
});

test.each(["", "   \n", "\u200B\u2060", "\u3164"])("nothing that shows is nothing to send: %j", (text) => {
  fireEvent.keyDown(write(text), { key: "Enter" });
  fireEvent.click(screen.getByRole("button", { name: "Enviar" }));
  expect(onSubmit).not.toHaveBeenCalled();
});

test("the limit is announced near it, in characters as people count them", () => {
  write("😀".repeat(4_600));
  expect(screen.getByText("Quedan 400 caracteres")).toBeTruthy();
});

test("a text that is too long says by how much and is not sent", () => {
  const field = write("a".repeat(5_001));
  expect(screen.getByText("Sobra 1 carácter")).toBeTruthy();
  expect(field.getAttribute("aria-invalid")).toBe("true");
  fireEvent.keyDown(field, { key: "Enter" });
  expect(onSubmit).not.toHaveBeenCalled();
});

test("the arrow up recalls the last message only from an empty field", () => {
  const field = write("hola");
  fireEvent.keyDown(field, { key: "ArrowUp" });
  expect(onRecall).not.toHaveBeenCalled();
  fireEvent.change(field, { target: { value: "" } });
  fireEvent.keyDown(field, { key: "ArrowUp" });
  expect(onRecall).toHaveBeenCalledOnce();
});

test("what the server finds wrong stands by the field, and belongs to it", () => {
  renderPage(<Field problem="Texto: no puede estar vacío." />);
  const field = screen.getByRole("textbox", { name: "Mensaje" });
  expect(screen.getByRole("alert").textContent).toBe("Texto: no puede estar vacío.");
  expect(field.getAttribute("aria-invalid")).toBe("true");
  expect(field.getAttribute("aria-describedby")).toContain(screen.getByRole("alert").id);
});

test("a rate limit counts down in words and keeps the text until it is over", () => {
  vi.useFakeTimers();
  renderPage(<Field heldUntil={Date.now() + 12_000} />);
  const field = screen.getByRole<HTMLTextAreaElement>("textbox", { name: "Mensaje" });
  fireEvent.change(field, { target: { value: "hola" } });
  expect(screen.getByTestId("composer-held").textContent).toBe("Escribes muy deprisa; vuelve a intentarlo en 12 s.");
  fireEvent.keyDown(field, { key: "Enter" });
  expect(onSubmit).not.toHaveBeenCalled();
  act(() => { vi.advanceTimersByTime(5_000); });
  expect(screen.getByTestId("composer-held").textContent).toContain("7 s");
  act(() => { vi.advanceTimersByTime(8_000); });
  expect(screen.queryByTestId("composer-held")).toBeNull();
  fireEvent.keyDown(field, { key: "Enter" });
  expect(onSubmit).toHaveBeenCalledExactlyOnceWith("hola");
});

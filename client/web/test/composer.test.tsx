/** Writing: which keys send, and what may be sent. */

import { fireEvent, screen } from "@testing-library/react";
import { useState, type ReactElement } from "react";
import { beforeEach, expect, test, vi } from "vitest";

import { ComposerForm } from "../src/pane/composer_form";
import { renderPage } from "./kit";

const onSubmit = vi.fn<(text: string) => void>();
const onRecall = vi.fn();
beforeEach(() => {
  onSubmit.mockClear();
  onRecall.mockClear();
});

function Field(): ReactElement {
  const [value, setValue] = useState("");
  return (
    <ComposerForm
      value={value} onChange={setValue} onSubmit={onSubmit} onRecall={onRecall} label="Mensaje"
      submit={{ label: "Enviar", icon: "send" }}
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

/** The field that one writes in, and its button. */

import { useEffect, useId, useLayoutEffect, useRef, type KeyboardEvent, type ReactElement, type ReactNode } from "react";

import { usePreferences } from "../preferences";
import { Icon, type IconName } from "../ui/icon";

export interface ComposerFormProps {
  value: string;
  onChange: (value: string) => void;
  /** Called with text that is neither blank nor too long. */
  onSubmit: (text: string) => void;
  label: string;
  submit: { label: string; icon: IconName };
  /** What is being edited or answered. */
  context?: ReactNode;
  /** Changes when focus should come to the field, which it does at once unless undefined. */
  focusOn?: string | undefined;
  onEscape?: (() => void) | undefined;
  /** Arrow up in an empty field. */
  onRecall?: (() => void) | undefined;
}

export const MAX_LENGTH = 5_000;
const COUNT_FROM = 4_500;
/** Spaces, and characters that show nothing, are no message. */
const VISIBLE = /[^\p{Z}\p{C}\p{Default_Ignorable_Code_Point}]/u;

export function ComposerForm(props: ComposerFormProps): ReactElement {
  const { value, onChange, onSubmit, label, submit, context, focusOn, onEscape, onRecall } = props;
  const { t } = usePreferences();
  const field = useRef<HTMLTextAreaElement>(null);
  const id = useId();
  const text = value.trim();
  const length = countCharacters(text);
  const canSubmit = VISIBLE.test(text) && length <= MAX_LENGTH;

  useLayoutEffect(() => { if (field.current) fit(field.current); }, [value]);
  useEffect(() => {
    if (focusOn === undefined || !field.current) return;
    field.current.focus();
    field.current.setSelectionRange(field.current.value.length, field.current.value.length);
  }, [focusOn]);

  const trySubmit = (): void => { if (canSubmit) onSubmit(text); };
  const onKeyDown = (event: KeyboardEvent): void => {
    if (event.nativeEvent.isComposing) return; // Enter only ends a word of an input method
    if (event.key === "Enter" && !event.shiftKey) {
      event.preventDefault();
      trySubmit();
    } else if (event.key === "Escape" && onEscape) onEscape();
    else if (event.key === "ArrowUp" && value === "" && onRecall) {
      event.preventDefault();
      onRecall();
    }
  };
  return (
    <form
      className="composer"
      onSubmit={(event) => {
        event.preventDefault();
        trySubmit();
        field.current?.focus();
      }}
    >
      {context}
      <div className="composer-row">
        <textarea
          ref={field} rows={1} value={value} placeholder={t.writeMessage} aria-label={label} enterKeyHint="send"
          aria-describedby={`${id}-hint ${id}-count`} aria-invalid={length > MAX_LENGTH} data-testid="composer"
          onChange={(event) => { onChange(event.target.value); }} onKeyDown={onKeyDown}
        />
        <button type="submit" className="send" aria-label={submit.label} title={submit.label} aria-disabled={!canSubmit}>
          <Icon name={submit.icon} />
        </button>
      </div>
      <p id={`${id}-hint`} className="sr-only">{t.composerHint}</p>
      <p id={`${id}-count`} className="counter" role="status" data-over={length > MAX_LENGTH || undefined}>
        {length >= COUNT_FROM && (length > MAX_LENGTH ? t.tooLong(length - MAX_LENGTH) : t.charactersLeft(MAX_LENGTH - length))}
      </p>
    </form>
  );
}

/** As the server counts: code points of the composed form. */
function countCharacters(text: string): number {
  return text.length < COUNT_FROM ? text.length : Array.from(text.normalize("NFC")).length;
}

/** As tall as its text; the style sheet says where that ends. */
function fit(field: HTMLTextAreaElement): void {
  field.style.height = "auto";
  field.style.height = `${field.scrollHeight}px`;
}

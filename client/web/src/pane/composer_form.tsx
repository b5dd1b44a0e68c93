/** The field that one writes in, and its button. */

import { useEffect, useId, useLayoutEffect, useRef, type KeyboardEvent, type ReactElement, type ReactNode } from "react";

import { usePreferences } from "../preferences";
import { Icon, type IconName } from "../ui/icon";
import { useCountdown } from "../ui/use_countdown";

export interface ComposerFormProps {
  value: string;
  onChange: (value: string) => void;
  /** Called with text that is neither blank nor too long. */
  onSubmit: (text: string) => void;
  label: string;
  submit: { label: string; icon: IconName };
  /** Message that is being edited or answered. */
  context?: ReactNode;
  /** The longest text, in characters. */
  maxLength: number;
  /** Problem that the server found with the text. */
  problem?: string | null;
  /** Until when a rate limit lets nothing go (ms since 1970); the text stays until then. */
  heldUntil?: number | null;
  /** Changes when focus should come to the field, which it does at once unless undefined. */
  focusOn?: string | undefined;
  onEscape?: (() => void) | undefined;
  /** Arrow up in an empty field. */
  onRecall?: (() => void) | undefined;
}

/** From this part of the longest text on, what is left is counted. */
const COUNT_FROM = 0.9;
/** Spaces, and characters that show nothing, are no message. */
const VISIBLE = /[^\p{Z}\p{C}\p{Default_Ignorable_Code_Point}]/u;

export function ComposerForm(props: ComposerFormProps): ReactElement {
  const { value, onChange, onSubmit, label, submit, context, focusOn, onEscape, onRecall, maxLength } = props;
  const { problem = null, heldUntil = null } = props;
  const { t } = usePreferences();
  const field = useRef<HTMLTextAreaElement>(null);
  const id = useId();
  const text = value.trim();
  const length = countCharacters(text, maxLength * COUNT_FROM);
  const secondsHeld = useCountdown(heldUntil);
  const canSubmit = VISIBLE.test(text) && length <= maxLength && secondsHeld === 0;

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
          ref={field} rows={1} dir="auto" value={value} placeholder={t.writeMessage} aria-label={label} enterKeyHint="send"
          aria-describedby={`${id}-hint ${id}-problem ${id}-count`} aria-invalid={length > maxLength || problem !== null} data-testid="composer"
          onChange={(event) => { onChange(event.target.value); }} onKeyDown={onKeyDown}
        />
        <button type="submit" className="send" aria-label={submit.label} title={submit.label} aria-disabled={!canSubmit}>
          <Icon name={submit.icon} />
        </button>
      </div>
      <p id={`${id}-hint`} className="sr-only">{t.composerHint}</p>
      <div id={`${id}-problem`} className="composer-problem" role="alert">
        {problem !== null && <p data-testid="composer-problem">{problem}</p>}
      </div>
      {/* Read out once, when it begins: a number that changes each second would drown the rest. */}
      {secondsHeld > 0 && <div className="composer-held" aria-hidden="true"><p data-testid="composer-held">{t.tooFast(secondsHeld)}</p></div>}
      <p className="sr-only" role="status">{secondsHeld > 0 && t.errors.rate_limited}</p>
      <p id={`${id}-count`} className="counter" role="status" data-over={length > maxLength || undefined}>
        {length >= maxLength * COUNT_FROM && (length > maxLength ? t.tooLong(length - maxLength) : t.charactersLeft(maxLength - length))}
      </p>
    </form>
  );
}

/** Counts like the server: code points of the composed form. */
function countCharacters(text: string, from: number): number {
  return text.length < from ? text.length : Array.from(text.normalize("NFC")).length;
}

/** Fits the height to the text; the style sheet bounds it. */
function fit(field: HTMLTextAreaElement): void {
  field.style.height = "auto";
  field.style.height = `${field.scrollHeight}px`;
}

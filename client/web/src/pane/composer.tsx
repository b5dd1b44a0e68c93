/** Writing: a new message, an answer to one, or another text for one's own. */

import { ChatRequestError, type ChatMessage } from "chatserver-client";
import { useServerConfig, type Chat } from "chatserver-client/react";
import { useState, type ReactElement } from "react";

import type { People } from "../people";
import { errorText, usePreferences } from "../preferences";
import { Icon, type IconName } from "../ui/icon";
import { isolated } from "../ui/plain";
import { isTouch } from "../ui/use_window";
import { ComposerForm } from "./composer_form";
import { isEditable, summary } from "./message_item";
import { useDraft } from "./use_draft";

/** Subject of the composer, unless it is a new message. */
export type Focus = { kind: "reply" | "edit"; message: ChatMessage } | null;

export interface ComposerProps {
  chat: Chat;
  conversationId: string;
  people: People;
  focus: Focus;
  onFocus: (focus: Focus) => void;
}

export function Composer(props: ComposerProps): ReactElement {
  const { focus } = props;
  return focus?.kind === "edit"
    ? <EditedMessage key={focus.message.key} {...props} message={focus.message} />
    : <NewMessage {...props} answered={focus?.message ?? null} />;
}

function NewMessage({ chat, conversationId, people, answered, onFocus }: ComposerProps & { answered: ChatMessage | null }): ReactElement {
  const { t } = usePreferences();
  const { max_length: maxLength, edit_window: editWindow } = useServerConfig();
  const [draft, setDraft] = useDraft(conversationId);
  // A keyboard that opens by itself would cover half of a phone.
  const [isInviting] = useState(() => !isTouch());
  const seq = answered?.seq ?? null;
  const recall = (): void => {
    const message = chat.messages.findLast((candidate) => isEditable(candidate, editWindow));
    if (message) onFocus({ kind: "edit", message });
  };
  return (
    <ComposerForm
      value={draft} label={t.messageLabel(isolated(people.title))} maxLength={maxLength} heldUntil={chat.heldUntil} submit={{ label: t.send, icon: "send" }}
      focusOn={answered?.key ?? (isInviting ? "new" : undefined)}
      onChange={(text) => {
        setDraft(text);
        chat.setTyping(text.trim() !== "");
      }}
      onSubmit={(content) => {
        chat.sendMessage(seq === null ? content : { content, reply_to_seq: seq });
        setDraft("");
        onFocus(null);
      }}
      onEscape={answered ? () => { onFocus(null); } : undefined}
      onRecall={recall}
      context={answered && (
        <Context
          icon="reply" title={t.replying(answered.isOwn ? t.you : isolated(people.author(answered).name))} text={summary(answered, t)}
          cancel={t.cancelReply} onCancel={() => { onFocus(null); }}
        />
      )}
    />
  );
}

function EditedMessage({ chat, people, message, onFocus }: ComposerProps & { message: ChatMessage }): ReactElement {
  const { t } = usePreferences();
  const [text, setText] = useState(message.content);
  const { max_length: maxLength } = useServerConfig();
  const [isSaving, setSaving] = useState(false);
  const [problem, setProblem] = useState<string | null>(null);
  const [heldUntil, setHeldUntil] = useState<number | null>(null);
  const save = async (content: string): Promise<void> => {
    if (isSaving || message.id === null) return;
    setSaving(true);
    try {
      if (content !== message.content) await chat.edit(message.id, content);
      onFocus(null);
    } catch (thrown) {
      const error = thrown instanceof ChatRequestError ? thrown : null;
      const wait = error?.code === "rate_limited" ? error.retryAfter : undefined;
      setHeldUntil(wait === undefined ? null : Date.now() + wait * 1000);
      setProblem(wait !== undefined ? null : error ? errorText(t, error) : t.unknownError);
      setSaving(false);
    }
  };
  return (
    <ComposerForm
      value={text} label={t.messageLabel(isolated(people.title))} maxLength={maxLength} problem={problem} heldUntil={heldUntil} submit={{ label: t.save, icon: "check" }} focusOn={message.key}
      onChange={(changed) => {
        setText(changed);
        setProblem(null);
      }}
      onSubmit={(content) => { void save(content); }}
      onEscape={() => { onFocus(null); }}
      context={(
        <Context icon="edit" title={t.editing} text={summary(message, t)} cancel={t.cancelEdit} onCancel={() => { onFocus(null); }} />
      )}
    />
  );
}

interface ContextProps {
  icon: IconName;
  title: string;
  text: string;
  cancel: string;
  onCancel: () => void;
}

function Context({ icon, title, text, cancel, onCancel }: ContextProps): ReactElement {
  return (
    <div className="composer-context">
      <Icon name={icon} />
      <span className="composer-context-text"><strong>{title}</strong><bdi className="ellipsis" dir="auto">{text}</bdi></span>
      <button type="button" className="icon-button" aria-label={cancel} title={cancel} onClick={onCancel}><Icon name="close" /></button>
    </div>
  );
}

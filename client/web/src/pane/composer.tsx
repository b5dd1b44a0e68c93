/** Writing: a new message, an answer to one, or another text for one's own. */

import type { ChatMessage } from "chatserver-client";
import type { Chat } from "chatserver-client/react";
import { useState, type ReactElement } from "react";

import { usePreferences } from "../preferences";
import { Icon, type IconName } from "../ui/icon";
import { isTouch } from "../ui/use_window";
import { ComposerForm } from "./composer_form";
import { isEditable, summary } from "./message_item";
import { useDraft } from "./use_draft";

/** What the composer is about, besides a new message. */
export type Focus = { kind: "reply" | "edit"; message: ChatMessage } | null;

export interface ComposerProps {
  chat: Chat;
  conversationId: string;
  peerName: string;
  focus: Focus;
  onFocus: (focus: Focus) => void;
  /** Something failed; `thrown` is the error. */
  onError: (thrown: unknown) => void;
}

export function Composer(props: ComposerProps): ReactElement {
  const { focus } = props;
  return focus?.kind === "edit"
    ? <EditedMessage key={focus.message.key} {...props} message={focus.message} />
    : <NewMessage {...props} answered={focus?.message ?? null} />;
}

function NewMessage({ chat, conversationId, peerName, answered, onFocus }: ComposerProps & { answered: ChatMessage | null }): ReactElement {
  const { t } = usePreferences();
  const [draft, setDraft] = useDraft(conversationId);
  // A keyboard that opens by itself would cover half of a phone.
  const [isInviting] = useState(() => !isTouch());
  const seq = answered?.seq ?? null;
  const recall = (): void => {
    const message = chat.messages.findLast((candidate) => isEditable(candidate));
    if (message) onFocus({ kind: "edit", message });
  };
  return (
    <ComposerForm
      value={draft} label={t.messageLabel(peerName)} submit={{ label: t.send, icon: "send" }}
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
          icon="reply" title={t.replying(answered.isOwn ? t.you : peerName)} text={summary(answered, t)}
          cancel={t.cancelReply} onCancel={() => { onFocus(null); }}
        />
      )}
    />
  );
}

function EditedMessage({ chat, peerName, message, onFocus, onError }: ComposerProps & { message: ChatMessage }): ReactElement {
  const { t } = usePreferences();
  const [text, setText] = useState(message.content);
  const [isSaving, setSaving] = useState(false);
  const save = async (content: string): Promise<void> => {
    if (isSaving || message.id === null) return;
    setSaving(true);
    try {
      if (content !== message.content) await chat.edit(message.id, content);
      onFocus(null);
    } catch (thrown) {
      onError(thrown);
      setSaving(false);
    }
  };
  return (
    <ComposerForm
      value={text} label={t.messageLabel(peerName)} submit={{ label: t.save, icon: "check" }} focusOn={message.key}
      onChange={setText}
      onSubmit={(content) => { void save(content); }}
      onEscape={() => { onFocus(null); }}
      context={(
        <Context icon="edit" title={t.editing} text={message.content} cancel={t.cancelEdit} onCancel={() => { onFocus(null); }} />
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
      <span className="composer-context-text"><strong>{title}</strong><span className="ellipsis">{text}</span></span>
      <button type="button" className="icon-button" aria-label={cancel} title={cancel} onClick={onCancel}><Icon name="close" /></button>
    </div>
  );
}

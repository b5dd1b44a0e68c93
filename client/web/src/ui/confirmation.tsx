/** A question before something that cannot be undone. */

import { useEffect, useId, useRef, type ReactElement } from "react";

import { usePreferences } from "../preferences";

export interface ConfirmationProps {
  title: string;
  hint: string;
  action: string;
  onConfirm: () => void;
  onCancel: () => void;
}

/** Modal: the rest of the page waits; Escape means no. Focus begins at the harmless answer. */
export function Confirmation({ title, hint, action, onConfirm, onCancel }: ConfirmationProps): ReactElement {
  const { t } = usePreferences();
  const dialog = useRef<HTMLDialogElement>(null);
  const id = useId();
  useEffect(() => {
    const element = dialog.current;
    element?.showModal();
    return () => { element?.close(); };
  }, []);
  return (
    <dialog
      ref={dialog} className="confirmation" aria-labelledby={`${id}-title`} aria-describedby={`${id}-hint`}
      onCancel={onCancel}
      onClick={(event) => { if (event.target === dialog.current) onCancel(); }}
    >
      <div className="confirmation-body">
        <h2 id={`${id}-title`}>{title}</h2>
        <p id={`${id}-hint`}>{hint}</p>
        <div className="confirmation-actions">
          <button type="button" className="button" onClick={onCancel}>{t.cancel}</button>
          <button type="button" className="button" data-danger="true" onClick={onConfirm}>{action}</button>
        </div>
      </div>
    </dialog>
  );
}

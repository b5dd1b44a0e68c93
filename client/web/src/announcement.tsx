/** A line with what the host application or an operator announces, until it is dismissed. */

import type { NoticeEvent } from "chatserver-client";
import { useChatClient } from "chatserver-client/react";
import { useEffect, useState, type ReactElement } from "react";

import { usePreferences } from "./preferences";
import { Icon } from "./ui/icon";
import { shownText } from "./ui/plain";

/** A later one takes the place of the one that is shown. */
export function Announcement(): ReactElement {
  const { t } = usePreferences();
  const client = useChatClient();
  const [shown, setShown] = useState<NoticeEvent | null>(null);
  useEffect(() => client.onNotice(setShown), [client]);
  // The region is always there: screen readers hear what changes in one, not what comes with it.
  return (
    <div className={shown ? "announcement" : undefined}>
      <div role="status">{shown && <p data-testid="announcement" dir="auto">{shownText(shown.content)}</p>}</div>
      {shown && (
        <button type="button" className="icon-button" aria-label={t.dismissNotice} title={t.dismissNotice} onClick={() => { setShown(null); }}>
          <Icon name="close" />
        </button>
      )}
    </div>
  );
}

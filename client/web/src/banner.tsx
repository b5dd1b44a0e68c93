/** Says so when there is no connection, and that nothing is lost by it. */

import { useChatClient, useConnection } from "chatserver-client/react";
import { useState, type ReactElement } from "react";

import { usePreferences } from "./preferences";
import { Icon } from "./ui/icon";
import { useHasNetwork } from "./ui/use_window";

/** It waits a moment before it appears (in the style sheet): most losses are over by then. */
export function Banner(): ReactElement {
  const { t } = usePreferences();
  const client = useChatClient();
  const { status, error } = useConnection();
  const hasNetwork = useHasNetwork();
  const [isLost, setLost] = useState(false);
  if ((status === "offline" || status === "online") && isLost !== (status === "offline")) setLost(status === "offline");

  const isEnded = status === "closed" && error !== null;
  const isAway = status === "offline" || status === "connecting";
  const text = isEnded ? t.sessionEnded : !isLost ? t.connecting : hasNetwork ? t.serverAway : t.noInternet;
  return (
    <div role="status">
      {(isEnded || isAway) && (
        <div className="banner" data-kind={isEnded ? "ended" : "away"} data-testid="banner">
          {status === "connecting" ? <span className="spinner" /> : <Icon name={isEnded ? "key" : "alert"} />}
          <span>{text}</span>
          {isLost && !isEnded && (
            <button type="button" className="link" onClick={() => { client.reconnect(); }}>{t.tryNow}</button>
          )}
        </div>
      )}
    </div>
  );
}

/** Progress of an own message: a clock, one tick, two ticks, two coloured ones. */

import type { MessageState } from "chatserver-client";
import type { ReactElement } from "react";

import { usePreferences } from "../preferences";

export function Ticks({ state }: { state: MessageState }): ReactElement {
  const { t } = usePreferences();
  return (
    <span className="ticks" data-state={state} title={t[state]}>
      <svg viewBox="0 0 20 14" aria-hidden="true" focusable="false"><path d={path(state)} /></svg>
      <span className="sr-only">{t[state]}</span>
    </span>
  );
}

function path(state: MessageState): string {
  switch (state) {
    case "sending": return "M10 2a5 5 0 1 1 0 10 5 5 0 0 1 0-10zM10 4.500V7l2 1.200";
    case "failed": return "M10 2a5 5 0 1 1 0 10 5 5 0 0 1 0-10zM10 4.500V7.500M10 9.500v.01";
    case "sent": return "m5.500 7.500 3 3 6-7";
    case "delivered":
    case "read": return "m2 7.500 3 3 6-7M9.500 9.800l.7.700 6-7";
  }
}

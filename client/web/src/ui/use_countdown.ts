/** The seconds that are left until a moment, as they pass. */

import { useEffect, useState } from "react";

/** `until` is in ms since 1970; null, like a moment that is over, has 0 seconds left. */
export function useCountdown(until: number | null): number {
  const [now, setNow] = useState(() => Date.now());
  const left = until === null ? 0 : Math.max(0, Math.ceil((until - now) / 1000));
  useEffect(() => {
    if (until === null) return undefined;
    const tick = (): void => { setNow(Date.now()); };
    const first = setTimeout(tick, 0);
    const timer = setInterval(tick, 500);
    return () => {
      clearTimeout(first);
      clearInterval(timer);
    };
  }, [until]);
  return left;
}

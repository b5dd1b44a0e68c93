/** Notices that a browser's network or page is back, when waiting for a timer would be silly. */

/** Calls `onWake` with how long the page was hidden (ms); answers the function that stops it. */
export function watchWake(onWake: (hiddenFor: number) => void): () => void {
  if (typeof window === "undefined" || typeof document === "undefined") return () => undefined;
  let hiddenSince: number | undefined;
  const network = (): void => { onWake(0); };
  const visibility = (): void => {
    if (document.visibilityState === "hidden") {
      hiddenSince = Date.now();
      return;
    }
    onWake(hiddenSince === undefined ? 0 : Date.now() - hiddenSince);
    hiddenSince = undefined;
  };
  window.addEventListener("online", network);
  document.addEventListener("visibilitychange", visibility);
  return () => {
    window.removeEventListener("online", network);
    document.removeEventListener("visibilitychange", visibility);
  };
}

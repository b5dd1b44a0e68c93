/** Plain text as it was typed, with its web addresses as links and nothing else. */

import { Fragment, type ReactElement } from "react";

import { splitText } from "../ui/plain";

/** Each text has its own direction, and a link turns neither that nor itself. */
export function MessageText({ text }: { text: string }): ReactElement {
  return (
    <bdi className="message-text" dir="auto">
      {splitText(text).map(({ text: part, href }, index) => href === undefined
        ? <Fragment key={index}>{part}</Fragment>
        : <bdi key={index}><a href={href} target="_blank" rel="noopener noreferrer nofollow" tabIndex={-1}>{part}</a></bdi>)}
    </bdi>
  );
}

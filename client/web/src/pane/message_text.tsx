/** Plain text as it was typed, with its web addresses as links and nothing else. */

import { Fragment, type ReactElement } from "react";

// A closing bracket, a full stop and the like after an address belong to the sentence.
const ADDRESS = /(https?:\/\/[^\s<>"]*[^\s<>".,;:!?)\]}'»”])/i;

export function MessageText({ text }: { text: string }): ReactElement {
  const parts = text.split(ADDRESS);
  return (
    <span className="message-text">
      {parts.map((part, index) => index % 2 === 1
        ? <a key={index} href={part} target="_blank" rel="noopener noreferrer nofollow" tabIndex={-1}>{part}</a>
        : <Fragment key={index}>{part}</Fragment>)}
    </span>
  );
}

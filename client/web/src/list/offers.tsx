/** Listings that one may write about; each begins a conversation with its owner. */

import { ChatRequestError } from "chatserver-client";
import { useChatClient } from "chatserver-client/react";
import { useState, type ReactElement } from "react";

import { errorText, usePreferences } from "../preferences";
import type { Offer } from "../session";
import { Icon } from "../ui/icon";
import { isolated, plainName } from "../ui/plain";

export interface OffersProps {
  offers: readonly Offer[];
  onOpen: (id: string) => void;
}

export function Offers({ offers, onOpen }: OffersProps): ReactElement {
  const { t } = usePreferences();
  const client = useChatClient();
  const [starting, setStarting] = useState<string | null>(null);
  const [error, setError] = useState<string | null>(null);
  const start = async ({ id }: Offer): Promise<void> => {
    setStarting(id);
    setError(null);
    try {
      onOpen((await client.createConversation(id)).id);
    } catch (thrown) {
      setError(thrown instanceof ChatRequestError ? errorText(t, thrown) : t.unknownError);
    } finally {
      setStarting(null);
    }
  };
  return (
    <section className="offers" aria-labelledby="offers-title">
      <h2 id="offers-title">{t.startAbout}</h2>
      <ul>
        {offers.map((offer) => (
          <li key={offer.id}>
            <button
              type="button" className="offer" aria-label={t.start(isolated(plainName(offer.title)))} aria-disabled={starting !== null}
              onClick={() => { if (starting === null) void start(offer); }}
            >
              <span className="offer-icon"><Icon name="house" /></span>
              <span className="offer-title">{starting === offer.id ? t.starting : <bdi>{plainName(offer.title)}</bdi>}</span>
            </button>
          </li>
        ))}
      </ul>
      {error !== null && <p className="list-note" role="alert">{error}</p>}
    </section>
  );
}

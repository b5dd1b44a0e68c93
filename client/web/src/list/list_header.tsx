/** The top of the list: whose page this is, and their preferences. */

import { useChatClient, useConversations } from "chatserver-client/react";
import type { User } from "chatserver-client";
import type { ReactElement } from "react";

import { LANGUAGE_NAMES, usePreferences, type Language, type Theme } from "../preferences";
import { Avatar, fullName } from "../ui/avatar";
import { Menu } from "../ui/menu";

export function ListHeader(): ReactElement {
  const { t } = usePreferences();
  const user = useOwnUser();
  const name = user && fullName(user);
  return (
    <header className="list-header">
      {user && name && <Avatar user={user} name={name} />}
      <div className="list-title">
        <p className="list-name">{t.appName}</p>
        {name && <p className="list-owner" data-testid="own-name"><bdi>{name}</bdi></p>}
      </div>
      <PreferencesMenu />
    </header>
  );
}

export function PreferencesMenu(): ReactElement {
  const { t, theme, setTheme, language, setLanguage } = usePreferences();
  const themes: [Theme, string][] = [["system", t.themeSystem], ["light", t.themeLight], ["dark", t.themeDark]];
  const languages = Object.entries(LANGUAGE_NAMES) as [Language, string][];
  return (
    <Menu
      label={t.preferences} icon="settings"
      groups={() => [
        { label: t.theme, items: themes.map(([value, label]) => (
          { label, isChecked: theme === value, onSelect: () => { setTheme(value); } })) },
        { label: t.language, items: languages.map(([value, label]) => (
          { label, isChecked: language === value, onSelect: () => { setLanguage(value); } })) },
      ]}
    />
  );
}

/** The reader, as far as any conversation tells who they are. */
export function useOwnUser(): User | null {
  const client = useChatClient();
  const { conversations } = useConversations();
  for (const { client_user_id, owner_user_id, client: tenant, owner, last_message } of conversations) {
    if (client_user_id === client.userId) return tenant;
    if (owner_user_id === client.userId) return owner;
    // Who takes no part is named only by what they have written.
    if (last_message?.sender && last_message.sender_id === client.userId) return last_message.sender;
  }
  return null;
}

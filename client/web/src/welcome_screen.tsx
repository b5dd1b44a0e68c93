/** For those who come without a link: what this is, and how to get one. */

import type { ReactElement } from "react";

import { PreferencesMenu } from "./list/list_header";
import { usePreferences } from "./preferences";
import { Empty } from "./ui/empty";

const LOCAL = new Set(["127.0.0.1", "localhost", "[::1]"]);

export function WelcomeScreen(): ReactElement {
  const { t } = usePreferences();
  return (
    <div className="welcome">
      <header><PreferencesMenu /></header>
      <main>
        <Empty level={1} icon="key" title={t.needsLink} hint={t.needsLinkHint}>
          {LOCAL.has(location.hostname) && (
            <details className="developers">
              <summary>{t.forDevelopers}</summary>
              <pre>make run</pre>
              <p>{t.developerSteps} <code>.data/dev.json</code></p>
              <pre>{`${location.origin}/#token=<JWT>`}</pre>
            </details>
          )}
        </Empty>
      </main>
    </div>
  );
}

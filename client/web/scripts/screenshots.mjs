/**
 * Makes docs/images/page-desktop.png and page-phone.png from the built page:
 * `npm run screenshots -w web` in client/. Needs a Chromium and `make setup`.
 */
import { fileURLToPath } from "node:url";

import { launchBrowser } from "./browser.mjs";
import { playScene, startServer } from "./scene.mjs";

const IMAGES = fileURLToPath(new URL("../../../docs/images/", import.meta.url));
const SHOTS = [
  { name: "page-desktop", viewport: { width: 1280, height: 760 } },
  { name: "page-phone", viewport: { width: 360, height: 740 }, deviceScaleFactor: 2, hasTouch: true, isMobile: true },
];

// A zone where it is evening now, so that the times suit what is said.
const timezoneId = zoneWhereItIs(19);

const server = await startServer();
const scene = await playScene(server);
const browser = await launchBrowser();
try {
  for (const { name, ...device } of SHOTS) {
    const context = await browser.newContext({ locale: "es-ES", timezoneId, colorScheme: "light", ...device });
    const page = await context.newPage();
    await page.goto(`${server.base_url}/#token=${server.users[0].token}&conversation=${scene.conversation}`);
    await page.getByTestId("typing").waitFor();
    await page.waitForTimeout(1_500);
    await page.screenshot({ path: `${IMAGES}${name}.png` });
    await context.close();
  }
} finally {
  scene.end();
  await browser.close();
  await server.stop();
}

function zoneWhereItIs(hour) {
  const offset = hour - new Date().getUTCHours();
  const east = offset < -11 ? offset + 24 : offset > 12 ? offset - 24 : offset;
  return `Etc/GMT${east > 0 ? "-" : "+"}${Math.abs(east)}`; // the names count the other way round
}

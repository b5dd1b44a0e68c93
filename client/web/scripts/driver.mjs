/**
 * A Chromium under the control of a test.
 *
 * Standard input takes one command a line, {id, do, …}; standard output gives one line
 * for each result, {id, result} or {id, error}. It ends, and the browser with it, when
 * standard input does.
 */
import { readFileSync } from "node:fs";
import { createInterface } from "node:readline";

import { launchBrowser } from "./browser.mjs";

const TIMEOUT = 60_000;
const browser = await launchBrowser();
const pages = new Map();

const commands = {
  /** A page in a browser context of its own; `options` are those of the context. */
  async open({ page: name, url, options }) {
    const context = await browser.newContext(options);
    context.setDefaultTimeout(TIMEOUT);
    const page = await context.newPage();
    const problems = [];
    page.on("pageerror", (error) => { problems.push(`uncaught: ${error.stack ?? error}`); });
    page.on("console", (message) => {
      if (["error", "warning"].includes(message.type())) problems.push(`${message.type()}: ${message.text()}`);
    });
    pages.set(name, { page, problems });
    await page.goto(url);
  },

  /** Calls `method` of the elements that `selector` finds, as playwright's locator has it. */
  async locate({ page: name, selector, method, args }) {
    return (await pages.get(name).page.locator(selector)[method](...args)) ?? null;
  },

  /** The value of a JavaScript expression in the page. */
  async evaluate({ page: name, expression }) {
    return (await pages.get(name).page.evaluate(expression)) ?? null;
  },

  async reload({ page: name }) {
    await pages.get(name).page.reload();
  },

  async resize({ page: name, width, height }) {
    await pages.get(name).page.setViewportSize({ width, height });
  },

  async offline({ page: name, isOffline }) {
    await pages.get(name).page.context().setOffline(isOffline);
  },

  /** What the page has put on its console as an error or a warning, and what it has not caught. */
  problems({ page: name }) {
    return pages.get(name).problems;
  },

  /** The serious and critical violations that axe-core finds, a line each. */
  async audit({ page: name }) {
    const { page } = pages.get(name);
    await page.evaluate(readFileSync(new URL(import.meta.resolve("axe-core")), "utf8"));
    const { violations } = await page.evaluate("axe.run()");
    return violations
      .filter(({ impact }) => ["serious", "critical"].includes(impact))
      .flatMap(({ id, help, nodes }) => nodes.map(({ html }) => `${id}: ${help}: ${html}`));
  },

  async screenshot({ page: name, path }) {
    await pages.get(name).page.screenshot({ path });
  },

  /** Closes every page. */
  async reset() {
    await Promise.all([...pages.values()].map(({ page }) => page.context().close()));
    pages.clear();
  },
};

async function run({ id, do: name, ...parameters }) {
  try {
    say({ id, result: (await commands[name](parameters)) ?? null });
  } catch (error) {
    say({ id, error: String(error) });
  }
}

function say(line) {
  process.stdout.write(JSON.stringify(line) + "\n");
}

createInterface({ input: process.stdin })
  .on("line", (line) => { void run(JSON.parse(line)); })
  .on("close", () => { void browser.close().finally(() => process.exit()); });

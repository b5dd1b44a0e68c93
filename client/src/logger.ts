/** Logger for what a developer may want to know; silent unless one is given. */

/** `console` fits. Neither tokens nor the text of messages are ever written. */
export interface Logger {
  debug(message: string, details?: unknown): void;
  warn(message: string, details?: unknown): void;
}

export const silent: Logger = {
  debug: () => undefined,
  warn: () => undefined,
};

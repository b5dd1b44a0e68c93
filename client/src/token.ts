/** Sources of tokens: a fixed string, or a provider that is asked again when one runs out. */

import { within } from "./timing.js";

/** Why a provider is asked. */
export interface TokenRequest {
  /** The last token was refused or is about to expire: do not answer it again from a cache. */
  isRenewal: boolean;
}

/** A token, or a function that fetches one from your own back end. */
export type TokenOption = string | ((request: TokenRequest) => string | Promise<string>);

/** The claims that the client looks at; the signature is the server's business. */
export interface Claims {
  sub?: string;
  exp?: number;
}

/** The claims of a JWT, or none when it is not one. */
export function readClaims(token: string): Claims {
  try {
    const body = (token.split(".")[1] ?? "").replaceAll("-", "+").replaceAll("_", "/");
    const claims = JSON.parse(atob(body)) as Claims | null;
    return {
      ...(typeof claims?.sub === "string" ? { sub: claims.sub } : {}),
      ...(typeof claims?.exp === "number" ? { exp: claims.exp } : {}),
    };
  } catch {
    return {};
  }
}

const PROVIDER_TIMEOUT = 15_000;
const EXPIRY_MARGIN = 30_000;

/** Asks the provider at most once at a time, and again only when the last token is used up. */
export class TokenSource {
  #option: TokenOption;
  #token: string | undefined;
  #flight: Promise<string> | undefined;

  constructor(option: TokenOption) {
    this.#option = option;
    if (typeof option === "string") this.#token = option;
  }

  /** True if a refused token can be followed by another one. */
  get isRenewable(): boolean {
    return typeof this.#option === "function";
  }

  /** The last token that was seen. */
  get current(): string | undefined {
    return this.#token;
  }

  /** Use this from now on. */
  replace(option: TokenOption): void {
    this.#option = option;
    this.#flight = undefined;
    this.#token = typeof option === "string" ? option : undefined;
  }

  /** A token; with `isRenewal` a new one. Rejects when the provider does, or after 15 s. */
  get(isRenewal = false): Promise<string> {
    if (typeof this.#option === "string") return Promise.resolve(this.#option);
    if (this.#flight) return this.#flight;
    if (!isRenewal && this.#token !== undefined && isFresh(this.#token)) return Promise.resolve(this.#token);
    const flight = this.#ask(this.#option, isRenewal).finally(() => {
      if (this.#flight === flight) this.#flight = undefined;
    });
    return (this.#flight = flight);
  }

  async #ask(provider: Exclude<TokenOption, string>, isRenewal: boolean): Promise<string> {
    const token = await within(PROVIDER_TIMEOUT, Promise.resolve(provider({ isRenewal })));
    if (this.#option === provider) this.#token = token;
    return token;
  }
}

function isFresh(token: string): boolean {
  const { exp } = readClaims(token);
  return exp === undefined || exp * 1000 - Date.now() > EXPIRY_MARGIN;
}

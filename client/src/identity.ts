/** Identity of this client: known from the first token on, before anything is received. */

export interface Identity {
  /** Empty until it is known. */
  readonly userId: string;
}

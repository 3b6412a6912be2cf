/** What a chain of grants says to its own holder. Hosts judge it; nothing here does. Mirrors `read` of core/grants.py. */

import { HoldError } from './errors.js';
import * as signed from './signed.js';

export const OBSERVE = 1;
export const PROPOSE = 2;
export const OPERATE = 4;
export const MANAGE = 8;

const FIELDS = ['format', 'tenant', 'signer', 'holder', 'sessions', 'capabilities', 'notBefore', 'notAfter', 'depth', 'serial', 'parent'];

/** @returns {{holder: Uint8Array, sessions: string[], capabilities: number, notAfter: number}} sessions empty: all */
export function read(chain) {
  try {
    const [, links] = signed.decoded(chain, 2, 16 * 1024);
    const last = signed.peeked(links.at(-1), FIELDS, 4096);
    return { holder: last.holder, sessions: last.sessions, capabilities: last.capabilities, notAfter: last.notAfter };
  } catch {
    throw new HoldError('bad-grant', 'a grant was refused: it is not the encoding of one', 'ask whoever gave it for another');
  }
}

/** What `chains` together let their holder do with a session (its id; null: all). For showing; it decides nothing. */
export const reach = (chains, session, now) => chains.map(read)
  .filter((each) => each.notAfter > now && (!each.sessions.length || (session !== null && each.sessions.includes(session))))
  .reduce((sum, each) => sum | each.capabilities, 0);

/** What makes one carrier: the secure channel, who the client is, and the link that outlives it. Mirrors wire/introduction.py. */

import { badMessage, revived } from '../core/errors.js';
import { decode, encode } from '../core/msgpack.js';
import { binding } from './channel.js';
import { arrayOf, messageOf } from './messages.js';

export const VERSION = 1;
export const INTRODUCE = { introduce: ['version', 'certificates', 'grants', 'signature', 'form', 'joins'] };
export const ANSWERS = { accepted: ['version', 'host'], failed: ['ref', 'code', 'message', 'do', 'details'] };

export const introduce = (said) => encode(arrayOf({ t: 'introduce', version: VERSION, ...said }, INTRODUCE));

/** Return what the host answers to an introduction. Throws what it refuses with. */
export function answered(plain) {
  let said;
  try {
    said = messageOf(decode(plain), ANSWERS);
  } catch {
    said = null;
  }
  if (!said) throw badMessage('an introduction was answered with something else');
  if (said.t === 'failed') throw revived(said);
  return said;
}

/**
 * The client's end of one carrier. `introduce` makes the introduction's fields from the channel's binding. Payloads are
 * received and sent one after the other: whoever drives it waits for each call.
 */
export class Dialled {
  constructor(initiator, introducing, link) {
    this.initiator = initiator;
    this.introducing = introducing;
    this.link = link;
    this.secure = null;
    this.accepted = null;
    this.number = 0;
  }

  first() {
    return this.initiator.message1;
  }

  /** Return `[events, payloads]`: what `payload` brought about, and what to send before what `outgoing` gives. */
  async receive(payload, now) {
    if (!this.secure) {
      const secure = await this.initiator.finish(payload);
      const words = await secure.seal(introduce(await this.introducing(binding(secure.handshakeHash))));
      this.number = this.link.carrierUp(now());
      this.secure = secure;
      return [[], [words]];
    }
    const plain = await this.secure.open(payload);
    if (!this.accepted) {
      this.accepted = answered(plain);
      return [[], []];
    }
    return [this.link.receive(this.number, plain, now()), []];
  }

  /** The packets that the link has to say now, not sealed yet. */
  outgoing(now) {
    return this.secure?.writable ? this.link.outgoing(this.number, now) : [];
  }

  lost(now) {
    if (this.number) this.link.carrierDown(this.number, now);
  }
}

/** Ask a host for certificates, once, inside a secure channel: the end of the one who joins. Mirrors wire/joining.py. */

import { concat, sha256, utf8 } from '../core/bytes.js';
import { badMessage, revived } from '../core/errors.js';
import { decode, encode } from '../core/msgpack.js';
import { binding } from './channel.js';
import { answered, introduce } from './introduction.js';
import { TO_CLIENT, arrayOf, messageOf } from './messages.js';

const DOMAIN = utf8('holdfast/join/1\0');
const PAIRING = utf8('holdfast/pairing/1\0');

/** Six digits that are the same at both ends of a joiner's channel and nowhere else. Source: docs/identity.md, "Pairing". */
export async function pairingNumber(bound, key) {
  const digest = await sha256(PAIRING, bound, key);
  return String(new DataView(digest.buffer).getBigUint64(0) % 1000000n).padStart(6, '0');
}
export const JOIN = { join: ['key', 'proof', 'host', 'name'] };

export class Joiner {
  /** @param {{secret: Uint8Array, pair: import('../core/signed.js').KeyPair, name: string}} who */
  constructor(initiator, { secret, pair, name }) {
    this.initiator = initiator;
    this.secret = secret;
    this.pair = pair;
    this.name = name;
    this.secure = null;
    this.accepted = '';
    this.answer = null;
    this.number = ''; // what a person may be asked to compare
  }

  first() {
    return this.initiator.message1;
  }

  /** Return the payloads to send next. Throws what the host refuses with. */
  async receive(payload) {
    if (!this.secure) {
      this.secure = await this.initiator.finish(payload);
      const bound = binding(this.secure.handshakeHash);
      this.number = await pairingNumber(bound, this.pair.key);
      const proof = await this.pair.sign(concat(DOMAIN, bound));
      const ask = encode(arrayOf({ t: 'join', key: this.pair.key, proof, host: new Uint8Array(), name: this.name }, JOIN));
      const hello = introduce({ certificates: [], grants: [], signature: new Uint8Array(), form: 0, joins: this.secret });
      return [await this.secure.seal(hello), await this.secure.seal(ask)];
    }
    const plain = await this.secure.open(payload);
    if (!this.accepted) {
      this.accepted = answered(plain).host || '?';
      return [];
    }
    const said = messageOf(decode(plain), TO_CLIENT);
    if (said?.t === 'failed') throw revived(said);
    if (said?.t !== 'joined') throw badMessage('a joiner was answered with something else');
    this.answer = said;
    return [];
  }
}

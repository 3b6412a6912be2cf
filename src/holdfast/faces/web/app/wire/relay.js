/** What a relay and a client or joiner say to each other. Mirrors wire/relay.py; source: docs/relay.md. */

import { concat, u64, utf8 } from '../core/bytes.js';
import { badMessage } from '../core/errors.js';
import { decode, encode } from '../core/msgpack.js';
import { arrayOf, messageOf } from './messages.js';

export const PROTOCOL = 1;
export const PATH = '/relay';
const DOMAIN = utf8('holdfast/relay/1\0');
const HEAD = 9;
export const PAYLOAD_BYTES_MAX = 65535;
export const FRAME_BYTES_MAX = HEAD + PAYLOAD_BYTES_MAX;
const ROLES = ['host', 'client', 'join'];

export const TO_RELAY = {
  admit: ['version', 'role', 'dialled', 'chain', 'signature', 'form'],
  'list-hosts': ['ref', 'watch'],
  'open-route': ['route', 'host'],
  closed: ['route', 'why'],
  ping: ['mark'],
  pong: ['mark'],
};
export const FROM_RELAY = {
  challenge: ['nonce', 'versions'],
  admitted: ['relay', 'allowance'],
  hosts: ['ref', 'hosts', 'more'],
  changed: ['presence'],
  revoked: ['revocations', 'issuer'],
  draining: ['grace_s'],
  closed: ['route', 'why'],
  done: ['ref', 'position'],
  failed: ['ref', 'code', 'message', 'do', 'details'],
  ping: ['mark'],
  pong: ['mark'],
};

export const control = (message) => concat([0], encode(arrayOf(message, TO_RELAY)));
export const routed = (route, payload) => concat([1], u64(route), payload);

/** Return `{t: 'routed', route, data}` or a control message; null for one that this client does not know. */
export function said(frame) {
  if (!(frame instanceof Uint8Array) || frame.length > FRAME_BYTES_MAX) throw badMessage('a frame of a relay is binary and bounded');
  if (frame[0] === 1) {
    if (frame.length < HEAD) throw badMessage('a payload without a route');
    const route = Number(new DataView(frame.buffer, frame.byteOffset).getBigUint64(1));
    return { t: 'routed', route, data: frame.subarray(HEAD) };
  }
  if (frame[0] !== 0) throw badMessage('a frame of no type that this protocol has');
  let array;
  try {
    array = decode(frame.subarray(1));
  } catch (error) {
    throw badMessage(String(error.message));
  }
  return messageOf(array, FROM_RELAY);
}

/** A host as a relay shows it: nothing of it is believed before it is verified. */
export const presence = ([host, reachable, since, chain = [], record = new Uint8Array()]) => ({ host, reachable, since, chain, record });

/** What a peer signs: what a signature is for, then the challenge, its role and the name it dialled. */
export const admissionBytes = (nonce, role, dialled) => concat(DOMAIN, nonce, [ROLES.indexOf(role)], utf8(dialledName(dialled)));
export const dialledName = (host) => host.replace(/^\[/, '').replace(/\]$/, '').replace(/\.$/, '').toLowerCase();

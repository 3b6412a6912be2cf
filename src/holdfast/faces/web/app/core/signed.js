/** Keys, and small records that one signed. Mirrors core/signed.py; source: docs/identity.md, "Signed records". */

import { concat, equal, hex, unbase64url, u32, utf8 } from './bytes.js';
import { decode, encode } from './msgpack.js';

export const KEY_BYTES = 32;
export const SERIAL_BYTES = 16;
export const SIGNATURE_BYTES = 64;
export const TIME_MAX = 2 ** 40;
export const CERTIFICATE = utf8('holdfast/certificate/1\0');
export const GRANT = utf8('holdfast/grant/1\0');
export const HOST_RECORD = utf8('holdfast/host-record/1\0');
export const REVOCATIONS = utf8('holdfast/revocations/1\0');
export const PLAIN = 0;
export const SSH = 1;

// Points of order 1, 2, 4 and 8, sign bit cleared, in every encoding of them: under such a key one signature fits many messages.
const SMALL_ORDER = new Set([
  '00'.repeat(32), `01${'00'.repeat(31)}`, `ec${'ff'.repeat(30)}7f`, `ed${'ff'.repeat(30)}7f`, `ee${'ff'.repeat(30)}7f`,
  '26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05',
  'c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a',
]);

/** What should be signed by somebody is not. `reason`: malformed, too-large, signature. */
export class Unsigned extends Error {
  constructor(reason) {
    super(reason);
    this.reason = reason;
  }
}

export function isKey(key) {
  if (!(key instanceof Uint8Array) || key.length !== KEY_BYTES) return false;
  const cleared = key.slice();
  cleared[31] &= 0x7f;
  return !SMALL_ORDER.has(hex(cleared));
}
export const isSpan = (notBefore, notAfter) => notBefore >= 0 && notBefore < notAfter && notAfter <= TIME_MAX;

/** An Ed25519 key. What is in the browser's store cannot be taken out of it, only used. */
export class KeyPair {
  /** @param {CryptoKey} secret @param {Uint8Array} key the public half */
  constructor(secret, key) {
    this.secret = secret;
    this.key = key;
    this.form = PLAIN;
  }

  /** Make a key that never leaves this browser. */
  static async made() {
    const pair = await crypto.subtle.generateKey({ name: 'Ed25519' }, false, ['sign', 'verify']);
    return new KeyPair(pair.privateKey, new Uint8Array(await crypto.subtle.exportKey('raw', pair.publicKey)));
  }

  /** The key that 32 random bytes make, as share links carry it. @param {Uint8Array} seed */
  static async ofSeed(seed) {
    // PKCS#8 of an Ed25519 seed (RFC 8410). Extractable for a moment: its public half is told in no other way.
    const wrapped = concat([0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20], seed);
    const open = await crypto.subtle.importKey('pkcs8', wrapped, { name: 'Ed25519' }, true, ['sign']);
    const { x } = await crypto.subtle.exportKey('jwk', open);
    const secret = await crypto.subtle.importKey('pkcs8', wrapped, { name: 'Ed25519' }, false, ['sign']);
    return new KeyPair(secret, unbase64url(x));
  }

  /** @param {Uint8Array} message */
  async sign(message) {
    return new Uint8Array(await crypto.subtle.sign({ name: 'Ed25519' }, this.secret, message));
  }
}

async function signable(message, form) {
  if (form === PLAIN) return message;
  const digest = new Uint8Array(await crypto.subtle.digest('SHA-512', message));
  const parts = [utf8('holdfast'), new Uint8Array(), utf8('sha512'), digest];
  return concat(utf8('SSHSIG'), ...parts.flatMap((part) => [u32(part.length), part]));
}

/** Whether `key` signed `message`. */
export async function genuine(key, signature, message, form = PLAIN) {
  if (!isKey(key) || signature.length !== SIGNATURE_BYTES) return false;
  try {
    const known = await crypto.subtle.importKey('raw', key, { name: 'Ed25519' }, false, ['verify']);
    return await crypto.subtle.verify({ name: 'Ed25519' }, known, signature, await signable(message, form));
  } catch {
    return false; // no point of the curve
  }
}

/** Return the array that `data` is the one encoding of, with `size` fields. Throws Unsigned. */
export function decoded(data, size, most) {
  if (data.length > most) throw new Unsigned('too-large');
  let value;
  try {
    value = decode(data);
  } catch {
    throw new Unsigned('malformed');
  }
  // A second encoding would be a second hash and a second identity of one record.
  if (!Array.isArray(value) || value.length !== size || !equal(encode(value), data)) throw new Unsigned('malformed');
  return value;
}

/** Return the fields that `key` signed in `domain`. Throws Unsigned; the signature is checked before the body is read. */
export async function opened(data, fields, { key, domain, most, ssh = false }) {
  const [body, signature, form] = decoded(data, 3, most);
  if (!(body instanceof Uint8Array) || !(signature instanceof Uint8Array)) throw new Unsigned('malformed');
  if (form !== PLAIN && !(ssh && form === SSH)) throw new Unsigned('signature');
  if (!(await genuine(key, signature, concat(domain, body), form))) throw new Unsigned('signature');
  return named(fields, decoded(body, fields.length, most));
}

/** Return what a signed record says, whoever signed it. */
export function peeked(data, fields, most) {
  const [body] = decoded(data, 3, most);
  return named(fields, decoded(body, fields.length, most));
}

const named = (fields, values) => Object.fromEntries(fields.map((field, at) => [field, values[at]]));


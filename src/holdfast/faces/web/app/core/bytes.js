/** Join, compare and write bytes as text. */

const encoder = new TextEncoder();
const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
const lenient = new TextDecoder('utf-8', { ignoreBOM: true });

/** @param {string} text */
export const utf8 = (text) => encoder.encode(text);
/** Text of bytes that must be UTF-8; throws TypeError otherwise. @param {Uint8Array} bytes */
export const text = (bytes) => decoder.decode(bytes);
/** Text of bytes that should be UTF-8. @param {Uint8Array} bytes */
export const textLeniently = (bytes) => lenient.decode(bytes);

/** @param {...(Uint8Array|number[])} parts */
export function concat(...parts) {
  const joined = new Uint8Array(parts.reduce((sum, each) => sum + each.length, 0));
  let at = 0;
  for (const each of parts) {
    joined.set(each, at);
    at += each.length;
  }
  return joined;
}

/** Whether two byte strings are the same. Not for secrets: it stops at the first difference. */
export function equal(a, b) {
  if (a.length !== b.length) return false;
  for (let at = 0; at < a.length; at += 1) if (a[at] !== b[at]) return false;
  return true;
}

/** Order of two byte strings, as Python compares them: below, at or above 0. */
export function compare(a, b) {
  const shorter = Math.min(a.length, b.length);
  for (let at = 0; at < shorter; at += 1) if (a[at] !== b[at]) return a[at] - b[at];
  return a.length - b.length;
}

/** @param {Uint8Array} bytes */
export const hex = (bytes) => Array.from(bytes, (each) => each.toString(16).padStart(2, '0')).join('');
/** @param {string} digits */
export const unhex = (digits) => Uint8Array.from(digits.match(/../g) ?? [], (each) => parseInt(each, 16));

/** Unsigned numbers, big-endian. @param {number|bigint} value */
export function u64(value) {
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(value));
  return bytes;
}
export const u32 = (value) => new Uint8Array([value >>> 24, value >>> 16, value >>> 8, value]);

/** @param {Uint8Array} bytes */
export function base64url(bytes) {
  let binary = '';
  for (let at = 0; at < bytes.length; at += 0x8000) binary += String.fromCharCode(...bytes.subarray(at, at + 0x8000));
  return btoa(binary).replaceAll('+', '-').replaceAll('/', '_').replace(/=+$/, '');
}
/** Throws for what is no base64url. @param {string} letters */
export function unbase64url(letters) {
  const binary = atob(letters.replaceAll('-', '+').replaceAll('_', '/'));
  return Uint8Array.from(binary, (each) => each.charCodeAt(0));
}

const BASE32 = 'abcdefghijklmnopqrstuvwxyz234567';
/** RFC 4648 base32 in small letters, without padding. @param {Uint8Array} bytes */
export function base32(bytes) {
  let found = '';
  let bits = 0;
  let held = 0;
  for (const each of bytes) {
    held = (held << 8) | each;
    bits += 8;
    while (bits >= 5) {
      bits -= 5;
      found += BASE32[(held >> bits) & 31];
    }
    held &= (1 << bits) - 1;
  }
  return bits ? found + BASE32[(held << (5 - bits)) & 31] : found;
}

/** @param {number} count */
export const random = (count) => crypto.getRandomValues(new Uint8Array(count));
/** @param {Uint8Array} bytes */
export const sha256 = async (...parts) => new Uint8Array(await crypto.subtle.digest('SHA-256', concat(...parts)));

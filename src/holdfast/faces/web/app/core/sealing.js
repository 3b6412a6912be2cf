/** Open the names that relays pass along sealed. Mirrors core/sealing.py; source: docs/identity.md, "Sealed names". */

import { concat, text, utf8 } from './bytes.js';

const DOMAIN = utf8('holdfast/name/1\0');

/** The name of `about`, or '' if it cannot be opened with `keys` (version -> key). */
export async function openName(sealed, keys, about) {
  if (sealed.length < 16) return '';
  const head = sealed.subarray(0, 4);
  const key = keys[new DataView(sealed.buffer, sealed.byteOffset).getUint32(0)];
  if (!key) return '';
  try {
    const known = await crypto.subtle.importKey('raw', key, { name: 'AES-GCM' }, false, ['decrypt']);
    const plain = await crypto.subtle.decrypt(
      { name: 'AES-GCM', iv: sealed.subarray(4, 16), additionalData: concat(DOMAIN, head, about) }, known, sealed.subarray(16));
    return text(new Uint8Array(plain)).replace(/\0+$/, '');
  } catch {
    return '';
  }
}

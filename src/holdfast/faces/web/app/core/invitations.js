/** Join codes and share links. Mirrors the reading half of core/invitations.py; source: docs/identity.md. */

import { concat, equal, sha256, unbase64url, utf8 } from './bytes.js';
import { HoldError } from './errors.js';
import * as grants from './grants.js';
import { isRelayUrl, read } from './identity.js';
import { isSessionId } from './ids.js';
import * as signed from './signed.js';

const CROCKFORD = '0123456789ABCDEFGHJKMNPQRSTVWXYZ';
const VALUE = new Map([...CROCKFORD].map((letter, value) => [letter, value]));
VALUE.set('O', 0).set('I', 1).set('L', 1);
const CODE_CHARS_MAX = 4096;
const URL_CHARS_MAX = 16 * 1024;
const PLAIN_BYTES_MAX = 24 * 1024;

const badCode = (reason, why) =>
  new HoldError('bad-join-code', `this is not a join code: ${why}; nothing was joined`,
    'copy the whole line again, from the HOLD1 at its beginning to its end', { reason });
const badShare = (reason, why) =>
  new HoldError('bad-share', `this is not a share link: ${why}; nothing was opened`, 'copy the whole link again, with everything after the #', { reason });

/** @param {string} fragment what follows the # */
export const isJoinCode = (fragment) => fragment.toUpperCase().startsWith('HOLD1');
export const isShare = (fragment) => fragment.startsWith('1.');

/** Return what a join code says. Throws HoldError. @param {number} now Unix seconds */
export async function parseJoinCode(line, now) {
  if (line.length > CODE_CHARS_MAX) throw badCode('content', `it is longer than ${CODE_CHARS_MAX} characters`);
  const letters = line.toUpperCase().replace(/[\s-]/g, '');
  if (!letters.startsWith('HOLD1')) throw badCode('head', 'it does not begin with HOLD1');
  const data = unbase32(letters.slice(5));
  const plain = data.subarray(0, -5);
  const check = (await sha256(utf8('holdfast/join-code/1\0'), plain)).subarray(0, 5);
  if (!plain.length || !equal(check, data.subarray(-5))) {
    throw badCode('checksum', 'its checksum does not fit, so a letter is mistyped, missing or too many');
  }
  let it;
  try {
    it = signed.decoded(plain, 7, CODE_CHARS_MAX);
  } catch {
    throw badCode('content', 'a newer version may have made it');
  }
  const [relays, tenant, host, channel, secret, notAfter, machine] = it;
  const sound = signed.isKey(tenant) && signed.isKey(host) && channel?.length === 32 && channel.some(Boolean)
    && secret?.length === 16 && notAfter > 0 && notAfter <= signed.TIME_MAX && relaysAreSound(relays);
  if (!sound) throw badCode('content', 'what it says makes no sense');
  if (now >= notAfter) throw new HoldError('expired', 'this join code has expired; nothing was joined', 'ask for a new one');
  return { relays, tenant, host, channel, secret, notAfter, machine };
}

function unbase32(letters) {
  const found = new Uint8Array(Math.floor((letters.length * 5) / 8));
  let bits = 0;
  let held = 0;
  let at = 0;
  for (const letter of letters) {
    const value = VALUE.get(letter);
    if (value === undefined) throw badCode('letter', `'${letter}' occurs in no code`);
    held = (held << 5) | value;
    bits += 5;
    if (bits >= 8) {
      bits -= 8;
      found[at++] = held >> bits;
      held &= (1 << bits) - 1;
    }
  }
  if (bits >= 5 || held) throw badCode('short', 'its end is missing');
  return found;
}

const relaysAreSound = (relays) => Array.isArray(relays) && relays.length >= 1 && relays.length <= 8 && relays.every(isRelayUrl);

/** Return all that a guest needs, the key's seed included, from what follows the # of a share link. Throws HoldError. */
export async function parseShare(fragment) {
  if (fragment.length > URL_CHARS_MAX) throw badShare('content', `it is longer than ${URL_CHARS_MAX} characters`);
  let it;
  try {
    it = signed.decoded(await unpacked(unbase64url(fragment.slice(2))), 7, PLAIN_BYTES_MAX);
  } catch {
    throw badShare('damaged', 'it is damaged, or of a newer version');
  }
  const [relays, tenant, host, session, certificates, grant, seed] = it;
  const sound = signed.isKey(tenant) && signed.isKey(host) && isSessionId(session) && seed?.length === 32 && relaysAreSound(relays);
  if (!sound) throw badShare('content', 'what it says makes no sense');
  const pair = await signed.KeyPair.ofSeed(seed);
  const member = read(certificates).at(-1);
  const given = grants.read(grant);
  const fits = equal(member.key, pair.key) && equal(given.holder, pair.key) && member.kind === 'guest'
    && equal(member.tenant, tenant) && given.sessions.length === 1 && given.sessions[0] === session;
  if (!fits) throw badShare('content', 'what it says makes no sense');
  return { relays, tenant, host, session, certificates, grant, pair };
}

/** A few bytes may claim to unpack to gigabytes: no more than the bound is ever made of them. */
async function unpacked(packed) {
  const reader = new Blob([packed]).stream().pipeThrough(new DecompressionStream('deflate')).getReader();
  let found = new Uint8Array();
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return found;
    found = concat(found, value);
    if (found.length > PLAIN_BYTES_MAX) throw new RangeError('too large');
  }
}

/** Names of keys and things, as core/ids.py and core/identity.py make them. */

import { base32, random, sha256 } from './bytes.js';

const tagged = (tag, bytes) => tag + base32(bytes);
export const clientId = () => tagged('c-', random(16));
export const isSessionId = (name) => /^s-[a-z2-7]{26}$/.test(name);
export const isName = (name) => /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/.test(name) && !isSessionId(name);

/** The id of the host with this public key: `h-` and 26 characters. @param {Uint8Array} key */
export const hostId = async (key) => tagged('h-', (await sha256(key)).subarray(0, 16));
export const operatorId = async (key) => `o${(await hostId(key)).slice(1)}`;

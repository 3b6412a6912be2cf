/**
 * Seal what client and host say to each other, end to end: one Noise IK handshake per carrier, then numbered frames.
 *
 * The client's half of wire/channel.py, on WebCrypto. Source: docs/channel.md; the Noise Protocol Framework, revision 34.
 * Everything that touches a key is asynchronous here; frames are sealed and opened one after the other all the same.
 */

import { concat, u64, utf8 } from '../core/bytes.js';
import { HoldError } from '../core/errors.js';

export const PROTOCOL = 'Noise_IK_25519_AESGCM_SHA256';
export const KEY_BYTES = 32;
export const TAG_BYTES = 16;
export const FRAME_BYTES_MAX = 65535;
export const PLAINTEXT_BYTES_MAX = FRAME_BYTES_MAX - TAG_BYTES;
export const MESSAGE2_BYTES = KEY_BYTES + TAG_BYTES;
export const REKEY_AFTER = 1 << 16;
const NONCE_END = (1n << 64n) - 1n;
const PROLOGUE = utf8('holdfast/channel/1\0');
const BINDING = utf8('holdfast/channel-binding/1\0');
const NOTHING = new Uint8Array();

export const badHandshake = (why) =>
  new HoldError('bad-handshake', `no secure channel came about: ${why}; nothing was sent over it`,
    'it is dialled again; if it goes on, the host has another key by now, or somebody in between alters messages', { why });
export const badSeal = (number, why) =>
  new HoldError('bad-seal', `frame ${number} of a secure channel does not verify (${why}); nothing of it was used and the channel is dead`,
    'it is dialled again: what was not acknowledged is resent', { number, why });
export const peerClosed = () =>
  new HoldError('peer-closed', 'the other side closed the channel; all it sent before has arrived', 'it is dialled again');
export const channelClosed = (why) =>
  new HoldError('channel-closed', `this secure channel is over: ${why}`, 'it is dialled again: every carrier gets a new one', { why });

/** What both sides agree on before the handshake. @param {Uint8Array} hostKey Ed25519, 32 bytes */
export const prologue = (hostKey) => concat(PROLOGUE, hostKey);
/** What an operator signs to say "this channel is mine". */
export const binding = (handshakeHash) => concat(BINDING, handshakeHash);

/** A fresh X25519 pair that never leaves the browser. */
export async function freshPair() {
  const pair = await crypto.subtle.generateKey({ name: 'X25519' }, false, ['deriveBits']);
  return { secret: pair.privateKey, key: new Uint8Array(await crypto.subtle.exportKey('raw', pair.publicKey)) };
}

const iv = (n) => concat([0, 0, 0, 0], u64(n));

/** One key and the number of the next message; rekeys after `rekeyAfter` messages. */
export class Cipher {
  constructor(key, { n = 0, rekeyAfter = REKEY_AFTER } = {}) {
    this.n = n;
    this.rekeyAfter = rekeyAfter;
    this.key = this.imported(key);
  }

  imported(key) {
    return crypto.subtle.importKey('raw', key, { name: 'AES-GCM' }, false, ['encrypt', 'decrypt']);
  }

  async run(what, n, data, ad) {
    const settings = { name: 'AES-GCM', iv: iv(n) };
    if (ad.length) settings.additionalData = ad;
    return new Uint8Array(await crypto.subtle[what](settings, await this.key, data));
  }

  async encrypt(plaintext, ad = NOTHING) {
    const sealed = await this.run('encrypt', this.n, plaintext, ad);
    await this.advance();
    return sealed;
  }

  /** Throws, and stays where it was, if this is not the very next message. */
  async decrypt(sealed, ad = NOTHING) {
    const plaintext = await this.run('decrypt', this.n, sealed, ad);
    await this.advance();
    return plaintext;
  }

  async advance() {
    this.n += 1;
    if (this.n % this.rekeyAfter === 0) {
      const next = await this.run('encrypt', NONCE_END, new Uint8Array(KEY_BYTES), NOTHING);
      this.key = this.imported(next.subarray(0, KEY_BYTES));
    }
  }
}

async function hmac(key, data) {
  const known = await crypto.subtle.importKey('raw', key, { name: 'HMAC', hash: 'SHA-256' }, false, ['sign']);
  return new Uint8Array(await crypto.subtle.sign('HMAC', known, data));
}

async function hkdf(chainingKey, secret) {
  const temporary = await hmac(chainingKey, secret);
  const first = await hmac(temporary, new Uint8Array([1]));
  return [first, await hmac(temporary, concat(first, [2]))];
}

/** Everything said so far, hashed into `h`, and every secret so far, mixed into one key. */
export class Symmetric {
  static async begun(prologue, responderStatic) {
    const it = new Symmetric();
    it.h = concat(utf8(PROTOCOL), new Uint8Array(KEY_BYTES - PROTOCOL.length));
    it.ck = it.h;
    it.cipher = null;
    await it.mixHash(prologue);
    await it.mixHash(responderStatic); // the premessage of IK: <- s
    return it;
  }

  async mixHash(data) {
    this.h = new Uint8Array(await crypto.subtle.digest('SHA-256', concat(this.h, data)));
  }

  async mixDh(ours, theirs) {
    let secret;
    try {
      const known = await crypto.subtle.importKey('raw', theirs, { name: 'X25519' }, false, []);
      secret = new Uint8Array(await crypto.subtle.deriveBits({ name: 'X25519', public: known }, ours, 256));
    } catch {
      throw badHandshake('a public key is none that X25519 can use');
    }
    if (!secret.some(Boolean)) throw badHandshake('a public key is of low order');
    let key;
    [this.ck, key] = await hkdf(this.ck, secret);
    this.cipher = new Cipher(key);
  }

  async seal(plaintext) {
    const sealed = await this.cipher.encrypt(plaintext, this.h);
    await this.mixHash(sealed);
    return sealed;
  }

  async open(sealed) {
    let plaintext;
    try {
      plaintext = await this.cipher.decrypt(sealed, this.h);
    } catch {
      throw badHandshake('a message does not verify');
    }
    await this.mixHash(sealed);
    return plaintext;
  }

  split() {
    return hkdf(this.ck, NOTHING);
  }
}

/** A channel whose handshake is done. Frames are opened in the order they were sealed, each once, or it is dead. */
export class Secure {
  constructor({ outward, inward, handshakeHash, rekeyAfter = REKEY_AFTER }) {
    this.out = new Cipher(outward, { rekeyAfter });
    this.in = new Cipher(inward, { rekeyAfter });
    this.handshakeHash = handshakeHash;
    this.why = '';
    this.closed = this.broken = false;
  }

  get writable() {
    return this.out !== null;
  }

  /** The frame of 1 to 65,519 bytes; call it again only when it has answered. @param {Uint8Array} plaintext */
  async seal(plaintext) {
    if (!this.out) throw channelClosed(this.why);
    if (!plaintext.length || plaintext.length > PLAINTEXT_BYTES_MAX) throw new RangeError(`a frame seals 1 to ${PLAINTEXT_BYTES_MAX} bytes`);
    return this.out.encrypt(plaintext);
  }

  /** What `frame` seals. Throws peer-closed, bad-seal, channel-closed; then the channel opens and seals nothing more. */
  async open(frame) {
    const cipher = this.in;
    if (!cipher) throw channelClosed(this.why);
    const number = cipher.n;
    if (frame.length < TAG_BYTES || frame.length > FRAME_BYTES_MAX) {
      this.end('a frame did not verify', true);
      throw badSeal(number, `it has ${frame.length} bytes`);
    }
    let plaintext;
    try {
      plaintext = await cipher.decrypt(frame);
    } catch {
      this.end('a frame did not verify', true);
      throw badSeal(number, 'altered, repeated, out of order, or one before it was dropped');
    }
    if (!plaintext.length) {
      this.end('the other side closed it');
      this.closed = true;
      throw peerClosed();
    }
    return plaintext;
  }

  /** The frame that says that nothing follows. */
  async close() {
    if (!this.out) throw channelClosed(this.why);
    const out = this.out;
    this.out = null;
    this.why = 'it was closed here';
    return out.encrypt(NOTHING);
  }

  end(why, broken = false) {
    this.in = this.out = null; // the keys go with them
    this.why = why;
    this.broken = broken;
  }
}

/** The client's side. `message1` is what to send first; it carries no request, for a relay can replay it. */
export class Initiator {
  static async begun({ staticPair, remoteStatic, prologue, ephemeral, rekeyAfter = REKEY_AFTER }) {
    const it = new Initiator();
    it.static = staticPair;
    it.ephemeral = ephemeral;
    it.rekeyAfter = rekeyAfter;
    const state = (it.state = await Symmetric.begun(prologue, remoteStatic));
    await state.mixHash(ephemeral.key);
    await state.mixDh(ephemeral.secret, remoteStatic);
    const s = await state.seal(staticPair.key);
    await state.mixDh(staticPair.secret, remoteStatic);
    it.message1 = concat(ephemeral.key, s, await state.seal(NOTHING));
    return it;
  }

  /** The channel, if `message2` is the host's answer to this very `message1`. */
  async finish(message2) {
    const state = this.state;
    this.state = null;
    if (!state) throw badHandshake('this handshake has had its answer');
    if (message2.length !== MESSAGE2_BYTES) throw badHandshake(`message 2 has ${message2.length} bytes, not ${MESSAGE2_BYTES}`);
    const f = message2.subarray(0, KEY_BYTES);
    await state.mixHash(f);
    await state.mixDh(this.ephemeral.secret, f);
    await state.mixDh(this.static.secret, f);
    await state.open(message2.subarray(KEY_BYTES));
    const [outward, inward] = await state.split();
    return new Secure({ outward, inward, handshakeHash: state.h, rekeyAfter: this.rekeyAfter });
  }
}

/** Bind an action to the operator who asks for it. Mirrors wire/signing.py; source: docs/channel.md, "Signed actions". */

import { compare, concat, random, sha256, u64, utf8 } from '../core/bytes.js';
import { Float, encode } from '../core/msgpack.js';

const DOMAIN = utf8('holdfast/action/1\0');
export const SALT_BYTES = 16;

const itself = (value) => value;
const float = (value) => new Float(Number(value));
const seconds = (value) => (value === null ? null : float(value));
const policy = (it) => (it === null ? null : [seconds(it.idle_s), float(it.grace_s), seconds(it.max_s)]);
/** A map in the order of its keys' UTF-8 bytes. */
const sorted = (it) => new Map(Object.entries(it).sort(([a], [b]) => compare(utf8(a), utf8(b))));

// Verb -> fields covered, in this order, each with its default and how it is written. Fields that were added later and
// that this client never gives are not listed: they are left out while they have their default.
export const COVERED = {
  open: {
    argv: [[], itself], env: [{}, sorted], cwd: ['', itself], size: [null, itself], name: ['', itself], reuse: [false, itself],
    policy: [null, policy], key: ['', itself],
  },
  input: { data: [null, itself], basis: [null, itself] },
  resize: { size: [null, itself] },
  signal: { signal: [0, itself], tree: [false, itself] },
  kill: { grace_s: [2, float] },
  rename: { name: ['', itself] },
  forget: {},
  control: { act: ['', itself], to: ['', itself], why: ['', itself], job: ['leave', itself] },
  propose: {
    number: [0, itself], verb: ['input', itself], data: [new Uint8Array(), itself], signal: [0, itself], tree: [false, itself], why: ['', itself],
    basis: [null, itself],
  },
  decide: {
    proposal: [0, itself], digest: [null, itself], verdict: ['', itself], why: ['', itself], widen: ['', itself], words: [[], itself], for_s: [3600, float],
  },
  withdraw: { proposal: [0, itself] },
};
// Of fields that were added later to a verb: how many there are, at its end; they are left out while they are null.
const LATER = { input: 1 };
export const isSigned = (verb) => Object.hasOwn(COVERED, verb);

/** The bytes an operator commits to: the verb and the covered fields. */
export function canonical(message) {
  const fields = Object.entries(COVERED[message.t]).map(([field, [otherwise, write]]) => write(message[field] ?? otherwise));
  for (let later = LATER[message.t] ?? 0; later > 0 && fields.at(-1) === null; later -= 1) fields.pop();
  return encode([message.t, ...fields]);
}

export const commitment = (salt, action) => sha256(salt, action);

/** What an operator signs for one action. */
export function statement({ session, client, epoch, term, seq, verb, commitment }) {
  const texts = [session, client, verb].map(utf8);
  if (texts.some((each) => each.length > 255)) throw new RangeError('a text of a statement is too long');
  return concat(DOMAIN, ...texts.flatMap((each) => [[each.length], each]), u64(epoch), u64(term), u64(seq), commitment);
}

/** Return the `signed` message for `message`, whose encoding is `action`. `about`: the session's id, for `open` the host's. */
export async function signedBy(pair, message, action, { about, client, seq, epoch = 1, term = 1, salt = random(SALT_BYTES) }) {
  const said = await commitment(salt, canonical(message));
  const signature = await pair.sign(statement({ session: about, client, epoch, term, seq, verb: message.t, commitment: said }));
  return { t: 'signed', session: about, seq, salt, signature, action, epoch, term };
}

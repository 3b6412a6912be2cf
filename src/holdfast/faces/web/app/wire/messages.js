/**
 * What client and host say to each other. Source: docs/wire.md; a test compares the tables with wire/messages.py.
 *
 * A message here is an object with its tag in `t` and its fields by name; on the wire it is an array in the order below. What
 * a table does not list is not said or heard by this client. Fields are only ever appended.
 */

import { badMessage } from '../core/errors.js';
import { decode, encode } from '../core/msgpack.js';

export const PROTOCOL = 1;
export const TO_HOST_BYTES_MAX = 1 << 20;
export const TO_CLIENT_BYTES_MAX = 4 << 20;

export const TO_HOST = {
  hello: ['version', 'client', 'face', 'inside'],
  ping: ['mark'],
  pong: ['mark'],
  open: ['ref', 'argv', 'env', 'cwd', 'size', 'name', 'reuse', 'policy', 'key'],
  list: ['ref', 'ended'],
  info: ['ref', 'session'],
  attach: ['ref', 'attachment', 'session', 'view', 'size', 'offset', 'observe', 'credit', 'cursor'],
  detach: ['attachment', 'cause'],
  credit: ['attachment', 'size'],
  input: ['ref', 'session', 'seq', 'data', 'attachment', 'term', 'basis'],
  resize: ['ref', 'session', 'size', 'attachment'],
  signal: ['ref', 'session', 'signal', 'tree'],
  kill: ['ref', 'session', 'grace_s'],
  rename: ['ref', 'session', 'name'],
  forget: ['ref', 'session'],
  read: ['ref', 'session', 'offset', 'size'],
  'get-text': ['ref', 'session', 'history'],
  'read-journal': ['ref', 'session', 'position', 'limit'],
  cancel: ['ref'],
  signed: ['session', 'seq', 'salt', 'signature', 'action', 'epoch', 'term'],
  renew: ['ref'],
  notify: ['ref', 'endpoint', 'key', 'auth', 'everything'],
  'stop-notifying': ['ref', 'endpoint'],
  control: ['ref', 'session', 'act', 'to', 'why', 'job'],
  who: ['ref', 'session'],
  proposals: ['ref', 'session', 'settled'],
  decide: ['ref', 'session', 'proposal', 'digest', 'verdict', 'why', 'widen', 'words', 'for_s'],
  withdraw: ['ref', 'session', 'proposal'],
  propose: ['ref', 'session', 'number', 'verb', 'data', 'signal', 'tree', 'why'],
};

export const TO_CLIENT = {
  welcome: ['version', 'host', 'host_name', 'generation', 'software', 'frame_bytes_max'],
  ping: ['mark'],
  pong: ['mark'],
  failed: ['ref', 'code', 'message', 'do', 'details'],
  done: ['ref', 'position'],
  opened: ['ref', 'session', 'created'],
  listing: ['ref', 'sessions'],
  tuple: ['ref', 'session', 'live'],
  attached: ['ref', 'attachment', 'session', 'offset', 'number', 'driver'],
  keyframe: ['attachment', 'offset', 'repaint', 'size', 'lost', 'follow'],
  output: ['attachment', 'offset', 'data'],
  gap: ['attachment', 'start', 'end', 'why'],
  event: ['attachment', 'kind', 'position', 'at', 'operator', 'body'],
  detached: ['attachment', 'cause', 'cursor', 'ending', 'offset'],
  typed: ['ref', 'seq', 'outcome', 'written', 'position'],
  'output-range': ['ref', 'offset', 'data', 'end', 'why'],
  text: ['ref', 'offset', 'lines', 'cursor', 'title'],
  ended: ['ref', 'ending'],
  records: ['ref', 'records', 'end'],
  joined: ['ref', 'certificates', 'grants', 'host', 'relays', 'names', 'until', 'name'],
  controlled: ['ref', 'control', 'position', 'flushed', 'dropped', 'cleared', 'signalled'],
  here: ['ref', 'control', 'attached', 'asked'],
  proposed: ['ref', 'proposal'],
  pending: ['ref', 'now', 'proposals'],
  decided: ['ref', 'proposal'],
  notifying: ['ref', 'key', 'mine', 'why_not'],
  shell: ['attachment', 'full', 'commands', 'prompt'],
};

/** Return `message` as its array: `t`, then the fields in their order, up to the last one that is given. */
export function arrayOf(message, table) {
  const fields = table[message.t];
  if (!fields) throw new RangeError(`no message ${message.t} is said here`);
  const values = fields.map((field) => message[field]);
  while (values.length && values.at(-1) === undefined) values.pop();
  return [message.t, ...values];
}

/** Return the message that an array is, null for a tag that the table does not have. Throws bad-message. */
export function messageOf(array, table) {
  if (!Array.isArray(array) || typeof array[0] !== 'string') throw badMessage('it has no tag');
  const fields = Object.hasOwn(table, array[0]) ? table[array[0]] : null;
  if (!fields) return null;
  return Object.fromEntries([['t', array[0]], ...fields.map((field, at) => [field, array[at + 1]])]);
}

export const toHost = (message) => encode(arrayOf(message, TO_HOST));

/** @param {Uint8Array} data */
export function fromHost(data) {
  let array;
  try {
    array = decode(data);
  } catch (error) {
    throw badMessage(String(error.message));
  }
  return messageOf(array, TO_CLIENT);
}

/** The lane a message to the host goes on. Source: docs/link.md, "Lanes". */
export const LARGE_REQUEST = 16 * 1024;
const TYPED = new Set(['input', 'resize', 'detach']);
export const isInput = (verb) => TYPED.has(verb);

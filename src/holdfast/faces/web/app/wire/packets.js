/** The bytes of a link's packets: made and checked here. Mirrors wire/packets.py; source: docs/link.md, "Packets". */

import { concat, textLeniently, utf8 } from '../core/bytes.js';
import { HoldError } from '../core/errors.js';

export const VERSION = 1;
export const LANES = 16;
export const LINK_ID_BYTES = 16;
export const PACKET_BYTES_MAX = 65519;
export const POSITION_MAX = Number.MAX_SAFE_INTEGER; // the other end may say more; nobody comes near it
export const TEXT_BYTES_MAX = 200;
export const [RESUME, DATA, SKIP, ACK, PING, PONG, CLOSE] = [1, 2, 3, 4, 5, 6, 7];
export const COMMON_BYTES = 8;
export const DATA_HEAD_BYTES = 16;
export const PAYLOAD_BYTES_MAX = PACKET_BYTES_MAX - DATA_HEAD_BYTES;
const SKIP_BYTES = 24;
const MARK_BYTES = 12;
const RESUME_BYTES = 24 + 8 * LANES;
const NEW = 1;

/** Why a carrier or a link ended, by number. One that is not here ends the link, too. */
export const CAUSES = { 1: 'bye', 2: 'superseded', 3: 'moving', 4: 'gone', 5: 'forgotten', 6: 'version', 7: 'broken', 8: 'full', 9: 'lapsed' };
export const OF_CARRIER = new Set(['superseded', 'moving']);
const NUMBERS = Object.fromEntries(Object.entries(CAUSES).map(([number, cause]) => [cause, Number(number)]));

export const badPacket = (why) =>
  new HoldError('bad-packet', `the other end of the link sent a packet that cannot be: ${why}; nothing of it was delivered`,
    'a new link is begun; if it happens again, one of the two programs is defective: please report it', { why });

const viewOf = (packet) => new DataView(packet.buffer, packet.byteOffset, packet.byteLength);
function position(view, at) {
  const value = view.getBigUint64(at);
  if (value > BigInt(POSITION_MAX)) throw badPacket('a position nobody comes near');
  return Number(value);
}

function common(size, kind, lane, held, acked) {
  const packet = new Uint8Array(size);
  const view = viewOf(packet);
  packet[0] = kind;
  packet[1] = lane;
  view.setUint16(2, held);
  view.setUint32(4, acked);
  return [packet, view];
}

export function head(packet) {
  if (packet.length < COMMON_BYTES) throw badPacket(`${packet.length} bytes of kind ${packet[0]}`);
  const view = viewOf(packet);
  return { lane: packet[1], held: view.getUint16(2), acked: view.getUint32(4) };
}

/** @param {{isNew: boolean, carrier: number, link: Uint8Array, received: number[]}} it */
export function resume({ isNew, carrier, link, received }) {
  const packet = new Uint8Array(RESUME_BYTES);
  const view = viewOf(packet);
  packet[0] = RESUME;
  packet[1] = VERSION;
  view.setUint16(2, isNew ? NEW : 0);
  view.setUint32(4, carrier);
  packet.set(link, 8);
  received.forEach((each, lane) => view.setBigUint64(24 + 8 * lane, BigInt(each)));
  return packet;
}

export function opening(packet) {
  if (packet.length < 2 || packet[0] !== RESUME) throw badPacket('a carrier did not begin with resume');
  if (packet[1] !== VERSION) return { version: packet[1], isNew: false, carrier: 0, link: new Uint8Array(16), received: Array(LANES).fill(0) };
  if (packet.length !== RESUME_BYTES) throw badPacket(`a resume of ${packet.length} bytes`);
  const view = viewOf(packet);
  const flags = view.getUint16(2);
  const carrier = view.getUint32(4);
  const received = Array.from({ length: LANES }, (_, lane) => position(view, 24 + 8 * lane));
  const isNew = (flags & NEW) !== 0;
  if (flags & ~NEW || carrier === 0 || (isNew && received.some(Boolean))) throw badPacket('a resume that contradicts itself');
  return { version: packet[1], isNew, carrier, link: packet.slice(8, 24), received };
}

/** A packet of `lane` with `pieces` of its stream from `at` on. */
export function data(held, acked, lane, at, pieces) {
  const size = pieces.reduce((sum, each) => sum + each.length, 0);
  const [packet, view] = common(DATA_HEAD_BYTES + size, DATA, lane, held, acked);
  view.setBigUint64(8, BigInt(at));
  let to = DATA_HEAD_BYTES;
  for (const each of pieces) {
    packet.set(each, to);
    to += each.length;
  }
  return packet;
}
export function dataAt(packet) {
  if (packet.length <= DATA_HEAD_BYTES) throw badPacket('data that brings nothing');
  return position(viewOf(packet), 8);
}

export function skip(held, acked, lane, start, end) {
  const [packet, view] = common(SKIP_BYTES, SKIP, lane, held, acked);
  view.setBigUint64(8, BigInt(start));
  view.setBigUint64(16, BigInt(end));
  return packet;
}
export function skipped(packet) {
  if (packet.length !== SKIP_BYTES) throw badPacket(`a skip of ${packet.length} bytes`);
  const [lane, start, end] = [packet[1], position(viewOf(packet), 8), position(viewOf(packet), 16)];
  if (lane < 2 || lane >= LANES || start >= end) throw badPacket(`a skip of lane ${lane} from ${start} to ${end}`);
  return { lane, start, end };
}

export const ack = (held, acked) => common(COMMON_BYTES, ACK, 0, held, acked)[0];

export function mark(kind, held, acked, number) {
  const [packet, view] = common(MARK_BYTES, kind, 0, held, acked);
  view.setUint32(8, number);
  return packet;
}
export function marked(packet) {
  if (packet.length !== MARK_BYTES) throw badPacket(`a ping or pong of ${packet.length} bytes`);
  return viewOf(packet).getUint32(8);
}

export const closing = (cause, why = '') => concat(common(COMMON_BYTES, CLOSE, NUMBERS[cause], 0, 0)[0], utf8(why).subarray(0, TEXT_BYTES_MAX));
export function closed(packet) {
  if (packet.length < COMMON_BYTES || packet.length > COMMON_BYTES + TEXT_BYTES_MAX) throw badPacket(`a close of ${packet.length} bytes`);
  return { cause: CAUSES[packet[1]] ?? 'gone', why: textLeniently(packet.subarray(COMMON_BYTES)) };
}

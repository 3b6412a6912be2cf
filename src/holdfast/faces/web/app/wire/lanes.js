/** One lane of a link: a stream of messages, each way. Mirrors wire/lanes.py; source: docs/link.md, "Lanes". */

import { concat, u32 } from '../core/bytes.js';
import { badPacket } from './packets.js';

export const HEAD = 4;
export const LARGE = 1 << 16;
const PIECE = 1 << 16;

/**
 * What was said on one lane and is not known to have arrived. `acked <= next <= end`; `top` is the highest ever sent. This
 * end never abandons a lane: a client says little, and all of it matters.
 */
export class Outward {
  constructor() {
    this.acked = this.next = this.top = this.end = 0;
    this.pieces = []; // from `base` on, sent or not
    this.base = 0;
  }

  get kept() {
    return this.end - this.acked;
  }

  get unsent() {
    return this.end - this.next;
  }

  /** Append a message; returns the bytes it takes. @param {Uint8Array} body */
  say(body) {
    const whole = concat(u32(body.length), body);
    for (let at = 0; at < whole.length; at += PIECE) this.pieces.push(whole.subarray(at, at + PIECE));
    this.end += whole.length;
    return whole.length;
  }

  /** The next `most` bytes to send, which count as sent from now on. */
  take(most) {
    const found = [];
    let at = this.base;
    let left = Math.min(most, this.unsent);
    for (const piece of this.pieces) {
      if (left === 0) break;
      const from = Math.max(0, this.next - at);
      if (from < piece.length) {
        const part = piece.subarray(from, from + left);
        found.push(part);
        left -= part.length;
        this.next += part.length;
      }
      at += piece.length;
    }
    this.top = Math.max(this.top, this.next);
    return found;
  }

  /** Begin a carrier: everything not acknowledged is unsent again. */
  rewind() {
    this.next = this.acked;
  }

  /** Forget what is below `to`: the other end has it. */
  arrived(to) {
    if (to <= this.acked) return;
    this.acked = to;
    this.next = Math.max(this.next, to);
    while (this.pieces.length && this.base + this.pieces[0].length <= to) this.base += this.pieces.shift().length;
  }
}

/** What arrives on one lane: at most one unfinished message, of which only what arrived takes memory. */
export class Inward {
  constructor() {
    this.position = 0;
    this.need = 0; // announced size of the unfinished message; 0: none
    this.head = [];
    this.left = 0;
    this.parts = [];
  }

  /** Take `data` and return the messages it completes. The length is judged before the body arrives. */
  feed(data, most) {
    const done = [];
    let at = 0;
    this.position += data.length;
    while (at < data.length) {
      if (!this.need) {
        while (this.head.length < HEAD && at < data.length) this.head.push(data[at++]);
        if (this.head.length < HEAD) break;
        const need = new DataView(Uint8Array.from(this.head).buffer).getUint32(0);
        this.head = [];
        if (need < 1 || need > most) throw badPacket(`a message of ${need} bytes; 1 to ${most} are allowed`);
        this.need = this.left = need;
      }
      const part = data.slice(at, at + this.left);
      at += part.length;
      this.left -= part.length;
      this.parts.push(part);
      if (!this.left && this.need) {
        done.push(this.parts.length === 1 ? this.parts[0] : concat(...this.parts));
        this.parts = [];
        this.need = 0;
      }
    }
    return done;
  }

  /** Go on at `to`: the sender abandoned what lies before. */
  skip(to) {
    this.position = to;
    this.need = this.left = 0;
    this.head = [];
    this.parts = [];
  }
}

/**
 * Encode and decode msgpack, the shortest form throughout, as msgspec writes it.
 *
 * Written here because the one encoding matters (signatures cover it), numbers above 2^53 must not lose digits, and a whole
 * number that the other side knows as a float must stay one: hence `Float`, and BigInt where it is needed. Objects become
 * maps with text keys, Map any map; `undefined` is not encoded. Source: github.com/msgpack/msgpack, spec.md.
 */

import { utf8, text } from './bytes.js';

/** A number that travels as a 64-bit float, also when it is whole. */
export class Float {
  /** @param {number} value */
  constructor(value) {
    this.value = value;
  }
}

/** Maps come back as plain objects when every key is text or a number; deeper than this is no message of ours. */
const DEPTH_MAX = 64;

class Writer {
  constructor() {
    this.bytes = new Uint8Array(256);
    this.view = new DataView(this.bytes.buffer);
    this.at = 0;
  }

  room(more) {
    if (this.at + more <= this.bytes.length) return;
    const larger = new Uint8Array(Math.max(this.bytes.length * 2, this.at + more));
    larger.set(this.bytes);
    this.bytes = larger;
    this.view = new DataView(larger.buffer);
  }

  u8(value) {
    this.room(1);
    this.bytes[this.at++] = value;
  }

  /** `head`, then `value` in `size` bytes. */
  sized(head, value, size) {
    this.room(1 + size);
    this.bytes[this.at++] = head;
    if (size === 1) this.bytes[this.at] = value;
    else if (size === 2) this.view.setUint16(this.at, value);
    else if (size === 4) this.view.setUint32(this.at, value);
    else this.view.setBigUint64(this.at, BigInt.asUintN(64, BigInt(value)));
    this.at += size;
  }

  raw(bytes) {
    this.room(bytes.length);
    this.bytes.set(bytes, this.at);
    this.at += bytes.length;
  }

  float(value) {
    this.room(9);
    this.bytes[this.at++] = 0xcb;
    this.view.setFloat64(this.at, value);
    this.at += 8;
  }

  integer(value) {
    const big = BigInt(value);
    if (big >= 0n) {
      if (big < 0x80n) this.u8(Number(big));
      else if (big < 0x100n) this.sized(0xcc, Number(big), 1);
      else if (big < 0x10000n) this.sized(0xcd, Number(big), 2);
      else if (big < 0x100000000n) this.sized(0xce, Number(big), 4);
      else if (big < 1n << 64n) this.sized(0xcf, big, 8);
      else throw new RangeError('a number over 2^64 - 1 cannot be encoded');
    } else if (big >= -32n) this.u8(Number(big) & 0xff);
    else if (big >= -0x80n) this.sized(0xd0, Number(big) & 0xff, 1);
    else if (big >= -0x8000n) this.sized(0xd1, Number(big) & 0xffff, 2);
    else if (big >= -0x80000000n) this.sized(0xd2, Number(big) >>> 0, 4);
    else if (big >= -(1n << 63n)) this.sized(0xd3, big, 8);
    else throw new RangeError('a number below -2^63 cannot be encoded');
  }

  length(count, small, smallMax, ...heads) {
    if (count <= smallMax) this.u8(small | count);
    else if (heads.length === 3 && count < 0x100) this.sized(heads[0], count, 1);
    else if (count < 0x10000) this.sized(heads[heads.length - 2], count, 2);
    else this.sized(heads[heads.length - 1], count, 4);
  }

  value(it) {
    if (it === null || it === undefined) this.u8(0xc0);
    else if (it === true) this.u8(0xc3);
    else if (it === false) this.u8(0xc2);
    else if (typeof it === 'number') {
      if (Number.isSafeInteger(it) && !Object.is(it, -0)) this.integer(it);
      else this.float(it);
    } else if (typeof it === 'bigint') this.integer(it);
    else if (typeof it === 'string') {
      const bytes = utf8(it);
      this.length(bytes.length, 0xa0, 31, 0xd9, 0xda, 0xdb);
      this.raw(bytes);
    } else if (it instanceof Uint8Array) {
      this.length(it.length, 0, -1, 0xc4, 0xc5, 0xc6);
      this.raw(it);
    } else if (it instanceof Float) this.float(it.value);
    else if (Array.isArray(it)) {
      this.length(it.length, 0x90, 15, 0xdc, 0xdd);
      for (const each of it) this.value(each);
    } else {
      const entries = it instanceof Map ? [...it] : Object.entries(it).filter(([, value]) => value !== undefined);
      this.length(entries.length, 0x80, 15, 0xde, 0xdf);
      for (const [key, value] of entries) {
        this.value(key);
        this.value(value);
      }
    }
  }
}

/** @param {unknown} it */
export function encode(it) {
  const writer = new Writer();
  writer.value(it);
  return writer.bytes.slice(0, writer.at);
}

class Reader {
  constructor(bytes) {
    this.bytes = bytes;
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.at = 0;
  }

  need(count) {
    if (count > this.bytes.length - this.at) throw new RangeError('its end is missing');
    const from = this.at;
    this.at += count;
    return from;
  }

  number(size) {
    const at = this.need(size);
    if (size === 1) return this.view.getUint8(at);
    if (size === 2) return this.view.getUint16(at);
    return this.view.getUint32(at);
  }

  wide(value) {
    return value >= -9007199254740991n && value <= 9007199254740991n ? Number(value) : value;
  }

  string(size) {
    const at = this.need(size);
    return text(this.bytes.subarray(at, at + size));
  }

  binary(size) {
    const at = this.need(size);
    return this.bytes.slice(at, at + size);
  }

  array(size, depth) {
    this.atLeast(size);
    return Array.from({ length: size }, () => this.value(depth + 1));
  }

  map(size, depth) {
    this.atLeast(2 * size);
    const found = [];
    let plain = true;
    for (let each = 0; each < size; each += 1) {
      const key = this.value(depth + 1);
      plain &&= typeof key === 'string' || typeof key === 'number';
      found.push([key, this.value(depth + 1)]);
    }
    return plain ? Object.fromEntries(found) : new Map(found);
  }

  /** No announced number of things is believed that the bytes at hand could not hold. */
  atLeast(count) {
    if (count > this.bytes.length - this.at) throw new RangeError('its end is missing');
  }

  value(depth = 0) {
    if (depth > DEPTH_MAX) throw new RangeError('it is nested too deep');
    const head = this.bytes[this.need(1)];
    if (head < 0x80) return head;
    if (head < 0x90) return this.map(head & 15, depth);
    if (head < 0xa0) return this.array(head & 15, depth);
    if (head < 0xc0) return this.string(head & 31);
    if (head >= 0xe0) return head - 0x100;
    switch (head) {
      case 0xc0: return null;
      case 0xc2: return false;
      case 0xc3: return true;
      case 0xc4: return this.binary(this.number(1));
      case 0xc5: return this.binary(this.number(2));
      case 0xc6: return this.binary(this.number(4));
      case 0xca: return this.view.getFloat32(this.need(4));
      case 0xcb: return this.view.getFloat64(this.need(8));
      case 0xcc: return this.number(1);
      case 0xcd: return this.number(2);
      case 0xce: return this.number(4);
      case 0xcf: return this.wide(this.view.getBigUint64(this.need(8)));
      case 0xd0: return this.view.getInt8(this.need(1));
      case 0xd1: return this.view.getInt16(this.need(2));
      case 0xd2: return this.view.getInt32(this.need(4));
      case 0xd3: return this.wide(this.view.getBigInt64(this.need(8)));
      case 0xd9: return this.string(this.number(1));
      case 0xda: return this.string(this.number(2));
      case 0xdb: return this.string(this.number(4));
      case 0xdc: return this.array(this.number(2), depth);
      case 0xdd: return this.array(this.number(4), depth);
      case 0xde: return this.map(this.number(2), depth);
      case 0xdf: return this.map(this.number(4), depth);
      default: throw new RangeError(`a value begins with ${head.toString(16)}, which no message of ours does`);
    }
  }
}

/** Return the one value that `bytes` are. Throws RangeError or TypeError. @param {Uint8Array} bytes */
export function decode(bytes) {
  const reader = new Reader(bytes);
  const found = reader.value();
  if (reader.at !== bytes.length) throw new RangeError('something follows it');
  return found;
}


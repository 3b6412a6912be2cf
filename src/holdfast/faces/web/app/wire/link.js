/**
 * Deliver messages exactly once and in order over carriers that come and go: the end that dials. Sans-I/O, time is an
 * argument in seconds. Mirrors wire/link.py; source: docs/link.md.
 */

import { equal } from '../core/bytes.js';
import { HoldError } from '../core/errors.js';
import { Flow } from './flow.js';
import { Inward, LARGE, Outward } from './lanes.js';
import * as p from './packets.js';

export const CONTROL = 0;
export const INPUT = 1;
export const ANSWERS = p.LANES - 1;
const BULK = 2;
const ACK_S = 0.025;
const ACK_BYTES = 1 << 13;

export const linkFull = (lane, kept) =>
  new HoldError('link-full', `${kept} bytes already wait for the host; this was not taken`, 'try again in a moment', { lane, kept });
export const linkOver = (cause) =>
  new HoldError('link-over', `this link is over (${cause}); sessions are not touched by it`, 'a new one is begun', { cause });

export const LIMITS = { smallBytesMax: 1 << 20, bulkBytesMax: 2 << 20, beatS: 3, silenceSMax: 9 };

/**
 * Events: {kind: 'delivered', lane, data}, {kind: 'resumed', carrier, isNew}, {kind: 'carrier-dead', silentS},
 * {kind: 'carrier-ended', cause, why}, {kind: 'unresumable', cause, why}, {kind: 'closed', why}.
 */
export class Link {
  /** @param {Uint8Array} id 16 random bytes, never used for another link */
  constructor(id, { hearsMax, saysMax, now, limits = LIMITS }) {
    this.id = id;
    this.hearsMax = hearsMax;
    this.saysMax = saysMax;
    this.limits = limits;
    this.state = 'down'; // down, greeting, up, over
    this.carrier = 0;
    this.cause = null;
    this.met = false;
    this.out = Array.from({ length: p.LANES }, () => new Outward());
    this.in = Array.from({ length: p.LANES }, () => new Inward());
    this.turns = []; // bulk lanes with something to send, in the order of their turns
    this.heardAt = null;
    this.since = now;
    this.lastWords = null;
    this.begin();
  }

  begin() {
    this.flow = new Flow(this.limits.bulkBytesMax);
    this.greets = true;
    this.arrived = 0;
    this.arrivedAt = 0;
    this.unacked = 0;
    this.ackAt = this.ping = this.pong = null;
    this.pings = 0;
    this.pingedAt = 0;
    this.pingClear = false;
  }

  // ---- what the layer above asks

  /** Take a message for the other end; delivered exactly once, or the link ends. Throws link-full, link-over. */
  say(lane, data) {
    if (this.state === 'over') throw linkOver(this.cause);
    if (!data.length || data.length > this.saysMax) throw new RangeError(`a message of ${data.length} bytes; 1 to ${this.saysMax} can be said`);
    const kept = lane < BULK ? this.out[lane].kept : this.out.slice(BULK).reduce((sum, each) => sum + each.kept, 0);
    if (kept >= (lane < BULK ? this.limits.smallBytesMax : this.limits.bulkBytesMax)) throw linkFull(lane, kept);
    this.out[lane].say(data);
    if (lane >= BULK && !this.turns.includes(lane)) this.turns.push(lane);
  }

  kept() {
    return this.out.reduce((sum, each) => sum + each.kept, 0);
  }

  /** Seconds since the other end was last heard, on any carrier; Infinity before the first time. */
  proofAge(now) {
    return this.heardAt === null ? Infinity : now - this.heardAt;
  }

  close(cause = 'bye', why = '') {
    if (this.state === 'over') return;
    const tells = this.state !== 'down';
    this.end(cause);
    this.lastWords = tells ? p.closing(cause, why) : null;
  }

  // ---- what the carrier's driver calls

  carrierUp(now) {
    if (this.state === 'over') throw linkOver(this.cause);
    this.state = 'greeting';
    this.carrier += 1;
    this.out.forEach((out) => out.rewind());
    this.turns = this.out.flatMap((out, lane) => (lane >= BULK && out.unsent ? [lane] : []));
    this.since = now;
    this.begin();
    return this.carrier;
  }

  carrierDown(carrier, now) {
    if (carrier === this.carrier && (this.state === 'greeting' || this.state === 'up')) {
      this.state = 'down';
      this.since = now;
    }
  }

  /** What `packet` brings about. Throws bad-packet; then nothing of it was delivered, and the link is over. */
  receive(carrier, packet, now) {
    if (carrier !== this.carrier) return carrier < this.carrier ? [{ kind: 'carrier-ended', cause: 'superseded', why: '' }] : [];
    if (this.state === 'down' || this.state === 'over') return [];
    let events;
    try {
      if (!packet.length || packet.length > p.PACKET_BYTES_MAX) throw p.badPacket(`it has ${packet.length} bytes`);
      if (packet[0] === p.CLOSE) return this.onClose(packet, now);
      if (this.state === 'greeting') return this.onResume(packet, now);
      events = this.handle(packet, now);
    } catch (error) {
      if (error.code === 'bad-packet') this.close('broken', error.details.why);
      throw error;
    }
    this.heardAt = now;
    return events;
  }

  /** The packets to seal and send now, in this order. Call it after `say`, `receive` and `wake`. */
  outgoing(carrier, now) {
    const found = [];
    if (carrier !== this.carrier) return found;
    if (this.lastWords) {
      found.push(this.lastWords);
      this.lastWords = null;
    }
    if (this.state === 'down' || this.state === 'over') return found;
    if (this.greets) {
      this.greets = false;
      found.push(p.resume({ isNew: !this.met, carrier, link: this.id, received: this.in.map((lane) => lane.position) }));
    }
    const up = this.state === 'up';
    const { flow } = this;
    const window = flow.window(now);
    const since = flow.total;
    if (up) this.signs(found, now);
    // Until the other end said what arrived, these are sent at a guess: it leaves out what it has.
    this.small(CONTROL, found, now, p.PAYLOAD_BYTES_MAX, up ? Infinity : window);
    if (!this.out[CONTROL].unsent) this.small(INPUT, found, now, flow.chunk, window);
    if (up) {
      this.bulk(found, now, window);
      if (flow.flight >= window) flow.filled(since);
      else if (!this.turns.length) flow.starved();
      if (this.ackAt !== null && now >= this.ackAt) {
        found.push(p.ack(this.held(now), this.arrived));
        this.ackAt = null;
        this.unacked = 0;
      }
    }
    return found;
  }

  /** Do what time alone brings about. Call it at `deadline`, and `outgoing` after it. */
  wake(now) {
    if (this.state === 'down' || this.state === 'over') return [];
    if (now >= this.heardOrUp() + this.limits.silenceSMax) {
      const silentS = now - this.heardOrUp();
      this.carrierDown(this.carrier, now);
      return [{ kind: 'carrier-dead', silentS }];
    }
    if (this.state === 'up' && now >= this.beatAt()) this.beat(now);
    return [];
  }

  get deadline() {
    if (this.state === 'down' || this.state === 'over') return null;
    let due = this.heardOrUp() + this.limits.silenceSMax;
    if (this.state === 'up') {
      due = Math.min(due, this.beatAt());
      if (this.ackAt !== null) due = Math.min(due, this.ackAt);
    }
    return due;
  }

  // ---- sending

  small(lane, found, now, chunk, window) {
    const out = this.out[lane];
    while (out.next < out.end && this.flow.flying[lane] < window) found.push(this.data(lane, Math.min(chunk, out.unsent), now));
  }

  bulk(found, now, window) {
    while (this.turns.length && this.flow.flight < window) {
      const lane = this.turns.shift();
      const out = this.out[lane];
      // One message longer than LARGE at a time: only lane 15 carries requests that long, so its turns never mix with another's.
      if (out.unsent) found.push(this.data(lane, Math.min(this.flow.chunk, out.unsent), now));
      if (out.unsent) this.turns.push(lane);
    }
  }

  data(lane, size, now) {
    const out = this.out[lane];
    const at = out.next;
    const packet = p.data(this.held(now), this.arrived, lane, at, out.take(size));
    this.flow.sent(lane, out.next, packet.length, now);
    this.ackAt = null; // every packet acknowledges
    this.unacked = 0;
    return packet;
  }

  signs(found, now) {
    if (this.pong !== null) found.push(p.mark(p.PONG, this.held(now), this.arrived, this.pong));
    if (this.ping !== null) found.push(p.mark(p.PING, this.held(now), this.arrived, this.ping));
    if (this.pong !== null || this.ping !== null) {
      this.pong = this.ping = this.ackAt = null;
      this.unacked = 0;
    }
  }

  held(now) {
    return this.arrived ? Math.max(0, Math.min(0xffff, Math.floor((now - this.arrivedAt) * 10000))) : 0;
  }

  // ---- receiving

  onResume(packet, now) {
    const said = p.opening(packet);
    if (said.version !== p.VERSION) return this.refuse('version', `format ${said.version} there, ${p.VERSION} here`);
    if (said.carrier !== this.carrier) throw p.badPacket(`a resume of carrier ${said.carrier} on carrier ${this.carrier}`);
    if (!equal(said.link, this.id) || (said.isNew && this.met)) return this.refuse('gone', 'the state of this link is not there any more');
    for (const [lane, out] of this.out.entries()) {
      const at = said.received[lane];
      if (at > out.top) throw p.badPacket(`a resume at ${at} of a lane that was sent up to ${out.top}`);
      if (at < out.acked) return this.refuse('forgotten', `${at} is asked for, ${out.acked} had been acknowledged`);
    }
    this.out.forEach((out, lane) => out.arrived(said.received[lane]));
    const isNew = !this.met;
    this.met = true;
    this.state = 'up';
    this.heardAt = now;
    this.beat(now);
    return [{ kind: 'resumed', carrier: this.carrier, isNew }];
  }

  handle(packet, now) {
    const { lane, held, acked } = p.head(packet);
    switch (packet[0]) {
      case p.DATA: return this.onData(packet, lane, held, acked, now);
      case p.SKIP: return this.onSkip(packet, held, acked, now);
      case p.ACK:
        if (packet.length !== p.COMMON_BYTES) throw p.badPacket(`an ack of ${packet.length} bytes`);
        this.acknowledged(held, acked, now);
        return [];
      case p.PING:
        this.pong = p.marked(packet);
        this.acknowledged(held, acked, now);
        return [];
      case p.PONG: {
        const mark = p.marked(packet);
        if (mark > this.pings) throw p.badPacket(`a pong to ping ${mark}, which was never sent`);
        this.acknowledged(held, acked, now);
        if (mark === this.pings) this.flow.roundTrip(now - this.pingedAt, this.pingClear, now);
        return [];
      }
      default: throw p.badPacket(`${packet.length} bytes of kind ${packet[0]} in this place`);
    }
  }

  onData(packet, lane, held, acked, now) {
    const position = p.dataAt(packet);
    const size = packet.length - p.DATA_HEAD_BYTES;
    if (lane >= p.LANES) throw p.badPacket(`data on lane ${lane}`);
    this.acknowledged(held, acked, now);
    const into = this.in[lane];
    const known = into.position - position; // bytes that came before, over another carrier
    if (known < 0) throw p.badPacket(`data from ${position} on lane ${lane}, where ${into.position} is next`);
    this.count(size, now);
    if (known >= size) return [];
    const messages = into.feed(packet.subarray(p.DATA_HEAD_BYTES + known), this.hearsMax);
    if (into.need && lane >= BULK) this.checkUnfinished();
    return messages.map((data) => ({ kind: 'delivered', lane, data }));
  }

  onSkip(packet, held, acked, now) {
    const { lane, start, end } = p.skipped(packet);
    this.acknowledged(held, acked, now);
    const into = this.in[lane];
    if (start > into.position) throw p.badPacket(`a skip from ${start} on lane ${lane}, where ${into.position} is next`);
    this.count(packet.length, now);
    if (end > into.position) into.skip(end);
    return [];
  }

  onClose(packet, now) {
    const { cause, why } = p.closed(packet);
    if (p.OF_CARRIER.has(cause)) {
      this.carrierDown(this.carrier, now);
      return [{ kind: 'carrier-ended', cause, why }];
    }
    this.end(cause);
    return [cause === 'bye' ? { kind: 'closed', why } : { kind: 'unresumable', cause, why }];
  }

  acknowledged(held, acked, now) {
    const count = (acked - this.flow.ackedCount) >>> 0;
    if (!count) return;
    if (count > this.flow.inFlight) throw p.badPacket(`${count} packets acknowledged, ${this.flow.inFlight} are in flight`);
    for (const [lane, end] of this.flow.acked(count, held / 10000, now)) this.out[lane].arrived(end);
  }

  count(size, now) {
    this.arrived = (this.arrived + 1) >>> 0;
    this.arrivedAt = now;
    this.unacked += size;
    if (this.unacked >= ACK_BYTES) this.ackAt = now;
    else this.ackAt ??= now + ACK_S;
  }

  /** Bound the memory of messages under way: one large one, and one that is not on each of the other lanes. */
  checkUnfinished() {
    const announced = this.in.slice(BULK).reduce((sum, each) => sum + each.need, 0);
    if (announced > this.hearsMax + (p.LANES - BULK) * LARGE) throw p.badPacket(`messages of ${announced} bytes begun at once`);
  }

  // ---- life

  heardOrUp() {
    return this.heardAt === null ? this.since : Math.max(this.since, this.heardAt);
  }

  beatAt() {
    return Math.max(this.heardOrUp(), this.pingedAt) + this.limits.beatS;
  }

  beat(now) {
    this.pings += 1;
    this.ping = this.pings;
    this.pingedAt = now;
    this.pingClear = this.flow.flight === 0;
  }

  refuse(cause, why) {
    this.close(cause, why);
    return [{ kind: 'unresumable', cause, why }];
  }

  end(cause) {
    this.state = 'over';
    this.cause = cause;
    this.out = Array.from({ length: p.LANES }, () => new Outward());
    this.in = Array.from({ length: p.LANES }, () => new Inward());
    this.turns = [];
  }
}

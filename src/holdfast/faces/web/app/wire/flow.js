/**
 * How much may be on its way over one carrier: measured from what its far end acknowledges. Mirrors wire/flow.py; source:
 * docs/link.md, "How much is on its way".
 */

import { PAYLOAD_BYTES_MAX } from './packets.js';

export const QUEUE_S = 0.1;
export const FIRST_WINDOW = 1 << 14;
export const FIRST_CHUNK = 1 << 12;
const WINDOW_MIN = 1 << 11;
const CHUNK_S = 0.025;
const CHUNK_MIN = 1 << 10;
const RATE_S = 1;
const RATE_ROUNDS = 6;
const SLACK_S = 0.01;
const RTT_S = 10;
const RTT_FRESH_S = 5;
const GROWTH = 1.25;
const ELAPSED_MIN = 1e-4;

/** One carrier's measurements and bounds. `flying` counts bytes in flight of lane 0, lane 1 and all others. */
export class Flow {
  constructor(most) {
    this.most = most;
    this.flown = [];
    this.ackedCount = 0;
    this.flight = 0;
    this.flying = [0, 0, 0];
    this.rtt = null;
    this.rttMin = null;
    this.rttAt = 0;
    this.clear = 0;
    this.delivered = 0;
    this.deliveredAt = this.firstAt = 0;
    this.total = 0;
    this.starvedUntil = 0;
    this.fills = [];
    this.best = this.bestBefore = 0;
    this.bestAt = 0;
    this.measured = false;
    this.roundEnd = this.fullEnd = 0;
    this.ceiling = Infinity;
    this.fullRate = 0;
    this.fullRounds = 0;
  }

  get rate() {
    return this.measured ? Math.max(this.best, this.bestBefore) : null;
  }

  get chunk() {
    const rate = this.rate;
    return rate === null ? FIRST_CHUNK : Math.max(CHUNK_MIN, Math.min(Math.floor(rate * CHUNK_S), PAYLOAD_BYTES_MAX));
  }

  get slack() {
    const rate = this.rate;
    return rate === null ? 0 : Math.min(WINDOW_MIN, Math.floor(rate * SLACK_S));
  }

  window(now) {
    const { rate, rttMin } = this;
    if (rate === null || rttMin === null) return Math.min(FIRST_WINDOW, this.most);
    if (now - this.rttAt > RTT_S && !this.clear && this.flight > this.slack) return this.slack + 1;
    let ahead = rttMin + QUEUE_S;
    if (this.fullRounds < 3) ahead = Math.max(ahead, 2 * rttMin);
    return Math.max(WINDOW_MIN, Math.min(Math.floor(rate * ahead), (this.most * 3) / 4));
  }

  sent(lane, end, size, now) {
    if (!this.flown.length) this.firstAt = this.deliveredAt = now;
    const clear = this.flight <= this.slack;
    this.clear += clear ? 1 : 0;
    this.total += size;
    this.flown.push({
      lane, end, size, at: now, delivered: this.delivered, deliveredAt: this.deliveredAt, firstAt: this.firstAt, total: this.total,
      starved: this.starvedUntil > 0, clear,
    });
    this.flight += size;
    this.flying[Math.min(lane, 2)] += size;
  }

  starved() {
    this.starvedUntil = this.total || 1;
  }

  filled(since) {
    const before = this.fills.at(-1);
    if (before && before.to >= since) before.to = this.total;
    else this.fills.push({ from: since, to: this.total });
  }

  /** Note that `count` more packets arrived, the last held for `heldS`; returns lane -> position up to which it arrived. */
  acked(count, heldS, now) {
    const ends = new Map();
    let last = null;
    let clear = null;
    this.ackedCount += count;
    for (let each = 0; each < count; each += 1) {
      last = this.flown.shift();
      ends.set(last.lane, last.end);
      this.flight -= last.size;
      this.flying[Math.min(last.lane, 2)] -= last.size;
      this.delivered += last.size;
      if (last.clear) {
        this.clear -= 1;
        clear ??= last;
      }
    }
    if (last) {
      const timed = clear ?? last;
      this.roundTrip(now - timed.at - heldS, timed.clear, now);
      this.measure(last, now);
    }
    return ends;
  }

  get inFlight() {
    return this.flown.length;
  }

  roundTrip(measured, clear, now) {
    const seconds = Math.max(measured, ELAPSED_MIN / 2);
    this.rtt = this.rtt === null ? seconds : this.rtt + (seconds - this.rtt) / 4;
    const stale = clear && now - this.rttAt > RTT_FRESH_S;
    if (this.rttMin === null || seconds <= this.rttMin || stale) {
      if (this.rttMin !== null && seconds > 2 * this.rttMin) {
        this.fullRate = 0;
        this.fullRounds = 0;
      }
      this.rttMin = seconds;
      this.rttAt = now;
    }
  }

  measure(last, now) {
    const elapsed = Math.max(last.at - last.firstAt, now - last.deliveredAt, ELAPSED_MIN);
    const rate = this.plausible((this.delivered - last.delivered) / elapsed, last);
    const filled = this.filledWith(last);
    this.firstAt = last.at;
    this.deliveredAt = now;
    if (this.delivered > this.starvedUntil) this.starvedUntil = 0;
    if (last.starved && !filled) {
      this.best = Math.max(this.best, rate);
      return;
    }
    this.measured = true;
    if (now - this.bestAt > Math.max(RATE_S, RATE_ROUNDS * (this.rttMin ?? 0))) {
      this.bestBefore = this.best;
      this.best = rate;
      this.bestAt = now;
    }
    this.best = Math.max(this.best, rate);
    if (last.delivered >= this.fullEnd) {
      this.fullEnd = this.delivered;
      const best = Math.max(this.best, this.bestBefore);
      if (best >= this.fullRate * GROWTH) {
        this.fullRate = best;
        this.fullRounds = 0;
      } else this.fullRounds += 1;
    }
  }

  /** Whether `last` was one of those that filled the window. */
  filledWith(last) {
    while (this.fills.length && this.fills[0].to < last.total) this.fills.shift();
    return this.fills.length > 0 && this.fills[0].from < last.total;
  }

  /** Bound how much quicker the path can be found within a round trip. */
  plausible(rate, last) {
    if (last.delivered >= this.roundEnd) {
      this.roundEnd = this.delivered;
      const best = Math.max(this.best, this.bestBefore);
      this.ceiling = this.measured ? best * (this.fullRounds >= 3 ? GROWTH : 2) : Infinity;
    }
    return Math.min(rate, this.ceiling);
  }
}

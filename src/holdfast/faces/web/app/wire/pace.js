/** When to dial again: at once after a loss, then ever more rarely up to a bound, for ever. Mirrors wire/pace.py. */

export const BOUNDS = { firstS: 0.05, mostS: 2, calmS: 1, brisk: 28, briskS: 0.25, hintS: 1 };

export class Pace {
  constructor(now, bounds = BOUNDS) {
    this.bounds = bounds;
    this.due = now; // null while an attempt is under way or a carrier is up
    this.failures = 0;
    this.upAt = null;
    this.hintedAt = null;
    this.hinted = false;
  }

  trying() {
    this.due = null;
    this.hinted = false;
  }

  up(now) {
    this.due = null;
    this.upAt = now;
  }

  lost(now, draw) {
    if (this.upAt !== null && now - this.upAt >= this.bounds.calmS) this.failures = 0;
    this.upAt = null;
    this.due = this.failures ? now + this.wait(draw) : now;
    this.failures += 1;
  }

  failed(now, draw) {
    this.failures = Math.max(this.failures, 1);
    this.due = now + this.wait(draw);
    this.failures += 1;
    if (this.hinted) {
      this.hinted = false;
      this.forward(now);
    }
  }

  /** The network changed, or the page is looked at again: what failed before says little now. */
  hint(now) {
    if (this.upAt !== null) return;
    if (this.due === null) this.hinted = true;
    else this.forward(now);
  }

  forward(now) {
    const at = this.hintedAt === null ? now : Math.max(now, this.hintedAt + this.bounds.hintS);
    if (this.due !== null && at < this.due) {
      this.due = this.hintedAt = at;
      this.failures = Math.min(this.failures, 1);
    }
  }

  wait(draw) {
    const { firstS, mostS, brisk, briskS } = this.bounds;
    const before = this.failures - 1;
    const most =
      before < brisk ? Math.min(briskS, firstS * 2 ** Math.min(before, 32)) : Math.min(mostS, briskS * 2 ** Math.min(before - brisk, 32));
    return most * (0.5 + 0.5 * draw);
  }
}

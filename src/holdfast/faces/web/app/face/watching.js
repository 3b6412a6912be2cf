/**
 * See in what hosts list that something happened in a session that is not looked at, and have the window around the page say so
 * (`hold desktop`, which no push service reaches). What happened is a word, as in notices: docs/web.md, "Notices".
 */

import { clean } from './dom.js';

const LONG_S = 10; // a command that took less is no news
const ASKS = new Set(['line', 'password']);

/** What is remembered of a session between two looks. */
export const noted = (info, now) => ({ waiting: info.waiting, since: now, asked: false, over: Boolean(info.ending), holder: info.control?.holder ?? '' });

/** Return why to tell, '' for nothing; `was` is brought up to date. A program that asks is told at the second look that sees it ask. */
export function news(was, info, me, now) {
  const { waiting, since, over, holder } = was;
  Object.assign(was, { over: Boolean(info.ending), holder: info.control?.holder ?? '' });
  if (waiting !== info.waiting) Object.assign(was, { waiting: info.waiting, since: now, asked: false });
  if (was.over) return over ? '' : 'command';
  if (holder === me && me && was.holder && was.holder !== me) return 'control';
  if (waiting === 'running' && info.waiting === 'prompt' && now - since >= LONG_S) return 'command';
  if (waiting === info.waiting && ASKS.has(waiting) && !was.asked) {
    was.asked = true;
    return 'input';
  }
  return '';
}

export class Watching {
  constructor() {
    this.seen = new Map(); // session id -> noted
    this.hosts = new WeakSet(); // that were looked at
  }

  /** Whether there is a window that can say it. */
  get able() {
    return navigator.userAgent.includes('QtWebEngine') && window.Notification?.permission === 'granted';
  }

  /** A host was looked at. What its first look shows is no news. */
  looked(host) {
    const now = performance.now() / 1000;
    const first = !this.hosts.has(host);
    this.hosts.add(host);
    for (const info of host.sessions) {
      const was = this.seen.get(info.id);
      if (!was) {
        this.seen.set(info.id, { ...noted(info, now), asked: first });
        continue;
      }
      const why = news(was, info, host.place.me ?? '', now);
      if (why) this.happened(why, info);
    }
  }

  happened(why, info) {
    const looking = document.visibilityState === 'visible' && document.hasFocus() && location.hash === `#/${info.id}`;
    if (this.able && !looking) new Notification(why, { body: clean(info.name) }); // the window says it in words of its own
  }
}

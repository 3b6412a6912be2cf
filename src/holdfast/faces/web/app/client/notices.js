/**
 * Notices on this device while the page is closed: a subscription of the browser for each host, since each signs with a key of its
 * own and a browser takes one key a registration. What is kept here is whether they are wanted. Source: docs/web.md, "Notices".
 */

import { equal } from '../core/bytes.js';
import { HoldError } from '../core/errors.js';

const WANTED = 'holdfast-notices';
export const WHICH = ['', 'mine', 'everything'];
const WORKER = '/app/sw.js';

/** Why this browser cannot, empty if it can. */
export function wanting() {
  if (!('serviceWorker' in navigator) || !('PushManager' in window) || !('Notification' in window)) {
    return 'This browser takes no push messages. On an iPhone or iPad add the page to the home screen first.';
  }
  return Notification.permission === 'denied' ? 'This browser was told to show no notices of this page; its settings can change that.' : '';
}

export class Notices {
  constructor() {
    this.done = new WeakSet(); // hosts that were told since the page was opened
    this.trouble = '';
  }

  /** One of WHICH. */
  get which() {
    const kept = localStorage.getItem(WANTED);
    return WHICH.includes(kept) ? kept : '';
  }

  /**
   * Want `which` from now on, of all `hosts` (those that are reached; others follow when they are). One that objects keeps no other
   * from it; then throws what the first said, or the browser. Call it from a click: browsers ask.
   */
  async want(which, hosts) {
    if (which) {
      const why = wanting();
      if (why) throw new HoldError('no-notices', why, '');
      if (await Notification.requestPermission() !== 'granted') throw new HoldError('no-notices', 'Notices were not allowed; nothing was changed.', '');
    }
    localStorage.setItem(WANTED, which);
    this.done = new WeakSet();
    if (!which) {
      await this.end(hosts);
      return;
    }
    let trouble = null;
    for (const host of hosts) await this.follow(host).catch((error) => { trouble ??= error; });
    if (trouble) throw trouble;
  }

  /** Have `host` send notices here, if they are wanted and it was not told since the page was opened. Throws as `want`. */
  async follow(host) {
    if (!this.which || this.done.has(host) || wanting()) return;
    this.done.add(host);
    try {
      const { key, why_not: whyNot } = await host.ask({ t: 'notify', endpoint: '', key: new Uint8Array(), auth: new Uint8Array(), everything: false });
      if (whyNot) throw new HoldError('no-notices', whyNot, '');
      const subscription = await subscribed(host, key);
      const part = (name) => new Uint8Array(subscription.getKey(name));
      await host.ask({ t: 'notify', endpoint: subscription.endpoint, key: part('p256dh'), auth: part('auth'), everything: this.which === 'everything' });
      this.trouble = '';
    } catch (error) {
      this.done.delete(host);
      this.trouble = error.message;
      throw error;
    }
  }

  /** Be told nothing by `host` any more, also if it is not reached: no key of it is kept here from now on. */
  async leave(host) {
    this.done = new WeakSet(); // another profile may still follow it, and says so at its next look
    await this.end([host], (scopeOf) => scopeOf === scope(host));
  }

  /**
   * Give up the subscriptions whose scope is `meant`, all without it. The browser comes first and a host is only told: one that is
   * not reached now goes on to send, and learns from the push service that nobody listens.
   */
  async end(hosts, meant = () => true) {
    for (const registration of await navigator.serviceWorker?.getRegistrations() ?? []) {
      const its = new URL(registration.scope).pathname;
      if (!its.startsWith('/notices/') || !meant(its)) continue;
      const subscription = await registration.pushManager?.getSubscription();
      if (subscription) {
        const { endpoint } = subscription;
        await subscription.unsubscribe();
        for (const host of hosts) {
          if (host.up && scope(host) === its) host.ask({ t: 'stop-notifying', endpoint }).catch(() => {});
        }
      }
      await registration.unregister();
    }
  }
}

const scope = (host) => `/notices/${host.id}/`;

async function subscribed(host, key) {
  const registration = await navigator.serviceWorker.register(WORKER, { scope: scope(host) });
  await active(registration);
  const former = await registration.pushManager.getSubscription();
  if (former) {
    const its = former.options?.applicationServerKey;
    if (!its || equal(new Uint8Array(its), key)) return former;
    await former.unsubscribe();
  }
  return registration.pushManager.subscribe({ userVisibleOnly: true, applicationServerKey: key });
}

function active(registration) {
  if (registration.active) return registration.active;
  const worker = registration.installing ?? registration.waiting;
  return new Promise((resolve, reject) => {
    worker.addEventListener('statechange', () => {
      if (worker.state === 'activated') resolve(worker);
      else if (worker.state === 'redundant') reject(new HoldError('no-notices', 'the page could not install what shows notices', 'reload it'));
    });
  });
}

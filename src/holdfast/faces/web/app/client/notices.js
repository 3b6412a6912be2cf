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

  /** Want `which` from now on, of all `hosts`. Throws what a browser or a host objects. Call it from a click: browsers ask. */
  async want(which, hosts) {
    if (which) {
      const why = wanting();
      if (why) throw new HoldError('no-notices', why, '');
      if (await Notification.requestPermission() !== 'granted') throw new HoldError('no-notices', 'Notices were not allowed; nothing was changed.', '');
    }
    localStorage.setItem(WANTED, which);
    this.done = new WeakSet();
    for (const host of hosts) await (which ? this.follow(host) : this.leave(host));
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

  async leave(host) {
    const registration = await navigator.serviceWorker.getRegistration(scope(host));
    if (registration?.scope !== new URL(scope(host), location.href).href) return;
    const subscription = await registration.pushManager.getSubscription();
    if (subscription) {
      await host.ask({ t: 'stop-notifying', endpoint: subscription.endpoint });
      await subscription.unsubscribe();
    }
    await registration.unregister();
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

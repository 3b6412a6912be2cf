/**
 * Keep the shell of the page, and nothing else, so that it opens without a network and says how old its last proof is. What
 * sessions show never passes here: it comes over a socket. The network comes first: an update is used as soon as it is there.
 * And show notices while the page is closed: a kind and a session's id, which is all that a host sends (docs/web.md, "Notices").
 */

const CACHE = 'holdfast-shell-1';
const WAIT_MS = 3000;

self.addEventListener('install', (event) => {
  event.waitUntil((async () => {
    const cache = await caches.open(CACHE);
    const page = await (await fetch('/', { cache: 'no-cache' })).text();
    const paths = [...page.matchAll(/(?:href|src)="(\/app\/[^"]+)"/g)].map((each) => each[1]);
    await cache.addAll(['/', ...paths]);
    await self.skipWaiting();
  })());
});

self.addEventListener('activate', (event) => {
  event.waitUntil((async () => {
    for (const name of await caches.keys()) if (name !== CACHE) await caches.delete(name);
    await self.clients.claim();
  })());
});

async function kept(request) {
  const cache = await caches.open(CACHE);
  const path = request.mode === 'navigate' ? '/' : new URL(request.url).pathname;
  try {
    const fresh = await fetch(request, { signal: AbortSignal.timeout(WAIT_MS) });
    if (fresh.ok) await cache.put(path, fresh.clone());
    return fresh;
  } catch (error) {
    const found = await cache.match(path);
    if (found) return found;
    throw error;
  }
}

self.addEventListener('fetch', (event) => {
  const url = new URL(event.request.url);
  const shell = event.request.method === 'GET' && url.origin === location.origin && (event.request.mode === 'navigate' || url.pathname.startsWith('/app/'));
  if (shell) event.respondWith(kept(event.request));
});

const NOTICES = {
  command: 'A command has ended.',
  input: 'A session waits for input.',
  approval: 'Something waits for your approval.',
  control: 'Somebody took control of a session.',
};

const pages = () => self.clients.matchAll({ type: 'window', includeUncontrolled: true });

async function show({ why, session }) {
  const id = /^s-[a-z2-7]{26}$/.test(session) ? session : '';
  const looking = (await pages()).some((each) => each.visibilityState === 'visible' && new URL(each.url).hash === `#/${id}`);
  if (looking) return; // browsers allow that much silence
  const body = Object.hasOwn(NOTICES, why) ? NOTICES[why] : 'Something happened in a session.';
  await self.registration.showNotification('Holdfast', { body, tag: `${id} ${why}`, icon: '/app/icons/icon-192.png', data: { session: id } });
}

self.addEventListener('push', (event) => {
  let said = {};
  try {
    said = event.data.json() ?? {};
  } catch {
    // shown all the same: a browser that was woken has to say something
  }
  event.waitUntil(show(said));
});

self.addEventListener('notificationclick', (event) => {
  const { session } = event.notification.data ?? {};
  event.notification.close();
  event.waitUntil((async () => {
    const [page] = await pages();
    if (!page) return self.clients.openWindow(`/#/${session}`);
    page.postMessage({ open: session });
    return page.focus();
  })());
});

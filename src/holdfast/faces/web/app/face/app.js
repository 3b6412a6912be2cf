/**
 * What the page knows: profiles, the hosts they reach, the sessions there. Everything but the profiles' keys comes from the hosts
 * anew each time. Not here: how it looks (list, session, phone).
 */

import { Host } from '../client/host.js';
import { Meeting, unixNow } from '../client/meeting.js';
import { Notices } from '../client/notices.js';
import { Profile } from '../client/profile.js';
import { equal } from '../core/bytes.js';
import { clientId, hostId } from '../core/ids.js';
import { Watching } from './watching.js';

const LOOK_S = 2; // between two looks at the sessions of a host
const HOSTS_MAX = 32;

/** One profile with the hosts it reaches. */
class Place {
  constructor(app, profile) {
    this.app = app;
    this.profile = profile;
    this.meeting = new Meeting(profile, () => this.follow());
    this.hosts = new Map(); // id -> Host
    this.trouble = null;
  }

  async begin() {
    // The host that let us in is spoken to at once: what relays know of others comes meanwhile.
    this.add(this.profile.host, await hostId(this.profile.host));
    await this.look();
  }

  async look() {
    try {
      await this.meeting.look();
      this.trouble = null;
    } catch (error) {
      this.trouble = error;
    }
    this.follow();
  }

  /** Speak to every host that is there. */
  follow() {
    if (!this.profile.session) {
      for (const each of this.meeting.hosts()) if (each.reachable && this.hosts.size < HOSTS_MAX) this.add(each.key, each.id);
    }
    this.app.changed();
  }

  add(key, id) {
    if (this.hosts.has(id)) return;
    const host = new Host(this.meeting, key, this.app.client, () => this.app.changed());
    host.id = id;
    host.place = this;
    host.sessions = null;
    this.hosts.set(id, host);
    this.app.look(host);
  }
}

export class App extends EventTarget {
  constructor(store) {
    super();
    this.store = store;
    this.client = clientId();
    this.places = [];
    this.notices = new Notices();
    this.watching = new Watching();
  }

  /** Begin with the profiles that are kept here. */
  async begin() {
    for (const kept of await this.store.all()) {
      const profile = new Profile(kept, this.store);
      if (profile.kind === 'guest' && profile.certificate.notAfter < unixNow()) await this.store.remove(profile.id);
      else await this.enter(await profile.begun());
    }
    setInterval(() => this.tick(), LOOK_S * 1000);
    const now = () => {
      if (document.visibilityState === 'visible') this.hint();
    };
    document.addEventListener('visibilitychange', now);
    window.addEventListener('online', now);
    window.addEventListener('offline', () => this.changed());
  }

  async enter(profile) {
    if (this.places.some((each) => each.profile.id === profile.id)) return;
    const place = new Place(this, profile);
    this.places.push(place);
    place.begin();
    this.changed();
  }

  async leave(place) {
    this.places = this.places.filter((each) => each !== place);
    for (const host of place.hosts.values()) {
      await this.notices.leave(host).catch(() => {}); // who is no member of this browser any more is told nothing here
      host.close();
    }
    await place.meeting.close();
    await this.store.remove(place.profile.id);
    this.changed();
  }

  get hosts() {
    return this.places.flatMap((place) => [...place.hosts.values()]);
  }

  host(id) {
    return this.hosts.find((each) => each.id === id) ?? null;
  }

  name(host) {
    return host.bridge.hostName || host.place.meeting.named(host.key) || host.id;
  }

  /** Every session that is known, each with its host. */
  get sessions() {
    return this.hosts.flatMap((host) => (host.sessions ?? []).map((info) => ({ host, info })));
  }

  session(id) {
    return this.sessions.find(({ info }) => info.id === id) ?? null;
  }

  /** Something is shown otherwise from now on; told at most once a frame. */
  changed() {
    this.telling ??= setTimeout(() => {
      this.telling = null;
      this.dispatchEvent(new Event('change'));
    }, 16);
  }

  hint() {
    for (const host of this.hosts) {
      host.retry();
      host.bridge.hint();
    }
    this.tick();
  }

  tick() {
    if (document.visibilityState !== 'visible' && !this.watching.able) return;
    for (const host of this.hosts) if (host.up && !host.looking) this.look(host);
    for (const place of this.places) if (place.trouble) place.look();
    this.changed();
  }

  /** Learn the sessions of a host, and renew certificates there when it is time. */
  async look(host) {
    host.looking = true;
    try {
      const { sessions } = await host.ask({ t: 'list', ended: true });
      host.sessions = sessions;
      host.lookedAt = performance.now();
      this.watching.looked(host);
      await this.renew(host);
      this.notices.follow(host).catch(() => {}); // said where they are wanted
    } catch {
      // said where the host's state is shown
    } finally {
      host.looking = false;
      this.changed();
    }
  }

  async renew(host) {
    const { profile } = host.place;
    if (!profile.due(unixNow()) || this.renewing || !equal(host.key, profile.host)) return;
    this.renewing = true;
    try {
      await profile.renewed(await host.ask({ t: 'renew' }), unixNow());
    } catch {
      // what is held goes on to its end; asked again by the next visit
    }
  }
}

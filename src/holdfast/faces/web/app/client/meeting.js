/** One profile at its relays: who is there, and a way to them. Mirrors client/meeting.py. */

import { equal, hex } from '../core/bytes.js';
import { HoldError } from '../core/errors.js';
import { hostId } from '../core/ids.js';
import { Line } from './line.js';

export const unixNow = () => Math.floor(Date.now() / 1000);

export class Meeting {
  /** @param {import('./profile.js').Profile} profile @param {() => void} onchange called when `hosts` may have changed */
  constructor(profile, onchange = () => {}) {
    this.profile = profile;
    this.onchange = onchange;
    this.lines = new Map(); // url -> Promise<Line>
    this.stale = new Set(); // hosts whose record did not lead to them
    this.seen = new Map(); // host key in hex -> what relays show of it
  }

  /** Look at every relay; returns the hosts, each as the relay that shows it best. Throws what every relay failed with. */
  async look() {
    const errors = [];
    const results = await Promise.all(this.profile.relays.map(async (url) => {
      try {
        for (const each of await (await this.line(url)).hosts(true)) await this.#met(each, url);
        return true;
      } catch (error) {
        errors.push(error);
        return false;
      }
    }));
    if (!results.some(Boolean)) throw errors[0];
    return this.hosts();
  }

  /** Hosts as they were seen last: key, id, name, reachable, since. */
  hosts() {
    return [...this.seen.values()].sort((a, b) => a.name.localeCompare(b.name) || a.id.localeCompare(b.id));
  }

  async #met(presence, url) {
    let name = this.profile.record(presence.host)?.name ?? '';
    if (presence.record.length) {
      try {
        name = await this.profile.learn(presence, unixNow());
      } catch {
        return; // not genuine, or older than what was seen: this relay's word on it is not used
      }
    }
    const key = hex(presence.host);
    const known = this.seen.get(key);
    if (known && known.reachable && !presence.reachable && known.relay !== url) return;
    this.seen.set(key, {
      key: presence.host, id: known?.id ?? (await hostId(presence.host)), name, reachable: presence.reachable, since: presence.since, relay: url,
    });
    this.onchange();
  }

  /** A line to the relay at `url`, dialled if there is none. */
  async line(url) {
    const known = this.lines.get(url);
    if (known) {
      const line = await known;
      if (line.alive && !line.draining) return line;
    }
    const dialling = Line.dial(url, 'client', {
      chain: this.profile.certificates, pair: this.profile.pair,
      onrevoked: (list, issuer) => this.profile.learnRevocations(list, issuer, unixNow()).catch(() => {}),
      onchanged: (presence) => this.#met(presence, url),
    });
    this.lines.set(url, dialling);
    try {
      const line = await dialling;
      line.gone.then(() => {
        if (this.lines.get(url) === dialling) this.lines.delete(url);
        this.onchange();
      });
      return line;
    } catch (error) {
      if (this.lines.get(url) === dialling) this.lines.delete(url);
      throw error;
    }
  }

  /** Return `{route, record}` to the host with key `host`. Throws host-unreachable, relay-unreachable, and refusals. */
  async route(host) {
    let record = this.stale.has(hex(host)) ? null : await this.profile.recordOf(host, unixNow());
    const errors = [];
    for (const url of this.profile.relays) {
      try {
        const line = await this.line(url);
        if (!record) {
          for (const each of await line.hosts(true)) await this.#met(each, url);
          record = await this.profile.recordOf(host, unixNow());
        }
        if (record) {
          this.stale.delete(hex(host));
          return { route: line.open(host), record };
        }
      } catch (error) {
        errors.push(error);
      }
    }
    if (errors.length) throw errors[0];
    throw new HoldError('host-unreachable', 'no relay of this profile knows that host; its sessions may be running', 'it is tried again by itself');
  }

  mistrust(host) {
    this.stale.add(hex(host));
  }

  named(host) {
    return this.profile.hosts.find((each) => equal(each.key, host))?.name ?? '';
  }

  async close() {
    for (const dialling of this.lines.values()) dialling.then((line) => line.end(), () => {});
    this.lines.clear();
  }
}

/**
 * One connection to one relay, and who waits for what on it. Mirrors edge/relayline.py and the `_Line` of client/meeting.py.
 */

import { HoldError, revived } from '../core/errors.js';
import * as relay from '../wire/relay.js';

const OPEN_S = 10;
const ANSWER_S = 10;
const DOUBT_S = 2;
const QUIET_S = 20;

export const unreachable = (url, why) =>
  new HoldError('relay-unreachable', `the relay at ${url} cannot be reached (${why}); sessions run on without it`,
    'check the network; it is tried again by itself', { url, why });

/** What to dial for a relay's URL as people write it. */
export function address(url) {
  const parts = new URL(url);
  if (parts.pathname === '/') parts.pathname = relay.PATH;
  return parts.href;
}

/** A way to one host over one relay, until either closes it. */
class Route {
  constructor(line, number) {
    this.line = line;
    this.number = number;
    this.heard = () => {};
    /** Settles when the route is over; rejects with what it was refused with. */
    this.over = new Promise((resolve, reject) => {
      this.ended = resolve;
      this.refused = reject;
    });
    this.over.catch(() => {});
  }

  carry(payload) {
    this.line.send(relay.routed(this.number, payload));
  }
}

export class Line {
  /**
   * Dial a relay and answer its challenge. Whether the answer was good comes as the first thing said; asking need not wait.
   * Throws relay-unreachable.
   */
  static async dial(url, role, { chain = [], pair = null, onrevoked = () => {}, onchanged = () => {} } = {}) {
    let socket;
    try {
      socket = new WebSocket(address(url));
    } catch (error) {
      throw unreachable(url, error.message);
    }
    socket.binaryType = 'arraybuffer';
    const line = new Line(url, socket, onrevoked, onchanged);
    try {
      await line.#admitted(role, chain, pair);
    } catch (error) {
      socket.close();
      throw error;
    }
    return line;
  }

  constructor(url, socket, onrevoked, onchanged) {
    this.url = url;
    this.socket = socket;
    this.onrevoked = onrevoked;
    this.onchanged = onchanged;
    this.alive = true;
    this.draining = false;
    this.error = unreachable(url, 'the connection ended');
    this.routes = new Map();
    this.lists = new Map();
    this.numbers = 0;
    this.frames = 0;
    this.gone = new Promise((resolve) => {
      this.onend = resolve;
    });
  }

  #admitted(role, chain, pair) {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(unreachable(this.url, 'it does not answer')), OPEN_S * 1000);
      const fail = (error) => {
        clearTimeout(timer);
        reject(error);
      };
      this.socket.onerror = () => fail(unreachable(this.url, 'no connection'));
      this.socket.onclose = () => fail(unreachable(this.url, 'it hung up'));
      this.socket.onmessage = async ({ data }) => {
        try {
          const challenge = relay.said(new Uint8Array(data));
          if (challenge?.t !== 'challenge' || !challenge.versions.includes(relay.PROTOCOL)) {
            throw new HoldError('bad-message', 'what answers there is no relay of a version that is spoken here', 'check the address');
          }
          const dialled = relay.dialledName(new URL(this.url).hostname);
          const signature = pair ? await pair.sign(relay.admissionBytes(challenge.nonce, role, dialled)) : new Uint8Array();
          this.socket.onmessage = (event) => this.#frame(new Uint8Array(event.data));
          this.socket.onclose = () => this.#end();
          this.socket.onerror = () => {};
          this.say({ t: 'admit', version: relay.PROTOCOL, role, dialled, chain, signature, form: 0 });
          this.quiet = setInterval(() => this.doubt(), QUIET_S * 1000);
          clearTimeout(timer);
          resolve();
        } catch (error) {
          fail(error);
        }
      };
    });
  }

  say(message) {
    this.send(relay.control(message));
  }

  send(frame) {
    if (this.socket.readyState === WebSocket.OPEN) this.socket.send(frame);
  }

  /** Every host of the tenant, as this relay shows them; with `watch`, `onchanged` hears of changes. */
  hosts(watch = false) {
    const ref = (this.numbers += 1);
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.lists.delete(ref);
        reject(new HoldError('timeout', `the relay at ${this.url} did not answer; nothing was changed`, 'it is tried again'));
      }, ANSWER_S * 1000);
      const settle = (act) => (value) => {
        clearTimeout(timer);
        this.lists.delete(ref);
        act(value);
      };
      this.lists.set(ref, { found: [], resolve: settle(resolve), reject: settle(reject) });
      if (!this.alive) this.lists.get(ref).reject(this.error);
      this.say({ t: 'list-hosts', ref, watch });
    });
  }

  open(host) {
    const route = new Route(this, (this.numbers += 1));
    if (!this.alive) {
      route.refused(this.error);
      return route;
    }
    this.routes.set(route.number, route);
    this.say({ t: 'open-route', route: route.number, host });
    return route;
  }

  close(route) {
    if (this.routes.delete(route.number)) this.say({ t: 'closed', route: route.number, why: 'asked' });
    route.ended();
  }

  /** Something fell silent: if nothing at all comes over this connection any more, end it, so that it is dialled anew. */
  doubt() {
    if (this.doubting || !this.alive) return;
    const before = this.frames;
    this.say({ t: 'ping', mark: 0 });
    this.doubting = setTimeout(() => {
      this.doubting = null;
      if (this.alive && this.frames === before) this.end();
    }, DOUBT_S * 1000);
  }

  end() {
    this.socket.close();
    this.#end(); // a socket to a network that is gone takes long to notice
  }

  #end() {
    if (!this.alive) return;
    this.alive = false;
    clearInterval(this.quiet);
    clearTimeout(this.doubting);
    for (const route of this.routes.values()) {
      if (this.error.code === 'relay-unreachable') route.ended();
      else route.refused(this.error);
    }
    this.routes.clear();
    for (const each of [...this.lists.values()]) each.reject(this.error);
    this.onend();
  }

  #frame(frame) {
    this.frames += 1;
    let said;
    try {
      said = relay.said(frame);
    } catch (error) {
      this.error = error;
      this.end();
      return;
    }
    if (said) this.#said(said);
  }

  #said(said) {
    switch (said.t) {
      case 'routed': this.routes.get(said.route)?.heard(said.data); break;
      case 'closed': {
        const route = this.routes.get(said.route);
        this.routes.delete(said.route);
        route?.ended();
        break;
      }
      case 'hosts': {
        const listing = this.lists.get(said.ref);
        listing?.found.push(...said.hosts.map(relay.presence));
        if (listing && !said.more) listing.resolve(listing.found);
        break;
      }
      case 'changed': this.onchanged(relay.presence(said.presence)); break;
      case 'revoked': this.onrevoked(said.revocations, said.issuer ?? new Uint8Array()); break;
      case 'draining': this.draining = true; break;
      case 'ping': this.say({ t: 'pong', mark: said.mark }); break;
      case 'failed': this.#failed(said); break;
      default:
    }
  }

  #failed(said) {
    const error = revived(said);
    if (said.ref === 0) {
      this.error = error;
      this.end();
      return;
    }
    const route = this.routes.get(said.ref);
    this.routes.delete(said.ref);
    route?.refused(error);
    this.lists.get(said.ref)?.reject(error);
  }
}

/**
 * One link to one host, over whatever route leads there now. Mirrors the `Bridge` of client/remote.py: carriers that break are
 * replaced here, unseen; a link that cannot be resumed is said (`onover`), and its user begins another.
 */

import { random } from '../core/bytes.js';
import { HoldError } from '../core/errors.js';
import { Initiator, freshPair, prologue } from '../wire/channel.js';
import { Dialled } from '../wire/introduction.js';
import { Link } from '../wire/link.js';
import { TO_CLIENT_BYTES_MAX, TO_HOST_BYTES_MAX } from '../wire/messages.js';
import { Pace } from '../wire/pace.js';
import { unixNow } from './meeting.js';

const OPENING_S = 5;
const TICK_S = 0.5;
const PASSING = new Set([
  'relay-unreachable', 'bad-seal', 'bad-handshake', 'peer-closed', 'superseded', 'relay-draining', 'relay-busy', 'timeout',
  'host-unreachable', 'no-such-host',
]);
export const clock = () => performance.now() / 1000;

export class Bridge {
  /**
   * @param {import('./meeting.js').Meeting} meeting
   * @param {Uint8Array} host its Ed25519 key
   * @param {{onmessage: (data: Uint8Array) => void, onover: (error: HoldError|null) => void, onchange: () => void}} user
   */
  constructor(meeting, host, user) {
    this.meeting = meeting;
    this.host = host;
    this.user = user;
    this.link = new Link(random(16), { hearsMax: TO_CLIENT_BYTES_MAX, saysMax: TO_HOST_BYTES_MAX, now: clock() });
    this.pace = new Pace(clock());
    this.hostName = '';
    this.trouble = null; // why there is no carrier now
    this.carrier = this.route = null;
    this.sending = Promise.resolve();
    this.over = false;
    this.soonAt = Infinity;
    this.run();
  }

  get up() {
    return this.link.state === 'up';
  }

  /** Seconds since the host was last heard. */
  get age() {
    return this.link.proofAge(clock());
  }

  get rtt() {
    return this.link.flow.rtt;
  }

  /** Say `data` on `lane`. Throws link-full, link-over. */
  say(lane, data) {
    this.link.say(lane, data);
    this.flush();
  }

  /** The network changed, or somebody looks: try now. */
  hint() {
    this.pace.hint(clock());
    this.woken?.();
    this.tick();
  }

  close() {
    this.finish(null);
  }

  // ---- carriers

  async run() {
    this.static = await freshPair();
    this.timer = setInterval(() => this.tick(), TICK_S * 1000);
    while (!this.over) {
      await this.#until(this.pace.due);
      if (this.over) return;
      this.pace.trying();
      try {
        const { route, record } = await this.meeting.route(this.host);
        await this.#overOne(route, record);
      } catch (error) {
        this.trouble = error instanceof HoldError ? error : new HoldError('client-failed', `this page met a defect of its own: ${error.message}`, 'reload it and report it');
        if (this.link.state === 'over' || !PASSING.has(this.trouble.code)) {
          this.finish(this.trouble);
          return;
        }
        if (this.pace.due === null) this.pace.failed(clock(), Math.random());
        this.user.onchange();
      }
    }
  }

  /** Wait until `due`, or until a hint brings it forward. */
  async #until(due) {
    while (!this.over && due !== null && due > clock()) {
      await new Promise((resolve) => {
        this.woken = resolve;
        setTimeout(resolve, (due - clock()) * 1000);
      });
      due = this.pace.due;
    }
  }

  async #overOne(route, record) {
    const initiator = await Initiator.begun({
      staticPair: this.static, remoteStatic: record.channel, prologue: prologue(record.host), ephemeral: await freshPair(),
    });
    const carrier = new Dialled(initiator, (binding) => this.#introduce(binding), this.link);
    this.carrier = carrier;
    this.route = route;
    this.sending = Promise.resolve();
    let hearing = Promise.resolve();
    let up = false;
    let failed = null;
    const fail = (error) => {
      failed ??= error;
      route.line.close(route);
    };
    const opening = setTimeout(() => fail(new HoldError('timeout', 'the host did not answer in time', 'it is tried again')), OPENING_S * 1000);
    const hear = async (payload) => {
      const [events, first] = await carrier.receive(payload, clock);
      first.forEach((each) => this.#send(() => each));
      if (carrier.accepted && !up) {
        up = true;
        clearTimeout(opening);
        this.hostName = carrier.accepted.host;
        this.trouble = null;
        this.pace.up(clock());
        this.user.onchange();
      }
      this.#happened(events, fail);
      this.flush();
    };
    route.heard = (payload) => {
      hearing = hearing.then(() => (failed ? undefined : hear(payload))).catch(fail);
    };
    route.carry(carrier.first());
    try {
      await route.over;
      await hearing;
      if (failed) throw failed;
    } finally {
      clearTimeout(opening);
      carrier.lost(clock());
      if (!carrier.secure) this.meeting.mistrust(this.host); // the host did not know what to make of it: its key may be another one
      if (this.carrier === carrier) this.carrier = this.route = null;
      if (up) this.pace.lost(clock(), Math.random());
      else this.pace.failed(clock(), Math.random());
      this.user.onchange();
    }
  }

  async #introduce(binding) {
    const { profile } = this.meeting;
    return {
      certificates: profile.certificates, grants: profile.living(unixNow()), signature: await profile.pair.sign(binding), form: 0,
      joins: new Uint8Array(),
    };
  }

  #happened(events, fail) {
    for (const event of events) {
      switch (event.kind) {
        case 'delivered': this.user.onmessage(event.data); break;
        case 'closed':
        case 'unresumable': this.finish(null); break;
        case 'carrier-ended': fail(new HoldError('peer-closed', `the carrier ended (${event.cause})`, 'it is dialled again')); break;
        case 'carrier-dead':
          this.route?.line.doubt();
          fail(new HoldError('timeout', 'nothing was heard for too long', 'it is dialled again'));
          break;
        default: this.user.onchange();
      }
    }
  }

  /** Seal and send what the link has to say, in its order. */
  flush() {
    const { carrier } = this;
    for (const packet of carrier?.outgoing(clock()) ?? []) this.#send(() => carrier.secure?.seal(packet));
    this.#schedule();
  }

  /** Look again when the link has something due: an acknowledgement, a sign of life. */
  #schedule() {
    const due = this.link.deadline;
    if (due === null || this.over || (this.soonAt <= due && this.soonAt > clock() - 1)) return;
    clearTimeout(this.soon);
    this.soonAt = due;
    this.soon = setTimeout(() => {
      this.soonAt = Infinity;
      this.tick();
    }, Math.max(1, (due - clock()) * 1000));
  }

  #send(sealing) {
    const { route } = this;
    this.sending = this.sending.then(async () => {
      const frame = await sealing();
      if (frame) route.carry(frame);
    }).catch(() => route?.line.close(route));
  }

  tick() {
    if (this.over) return;
    const { route } = this;
    this.#happened(this.link.wake(clock()), () => route?.line.close(route));
    this.flush();
  }

  /** The link is over: `error` says why it cannot be begun anew, null that it can. */
  finish(error) {
    if (this.over) return;
    this.over = true;
    this.link.close();
    this.flush();
    clearInterval(this.timer);
    clearTimeout(this.soon);
    this.woken?.();
    const { route, carrier } = this;
    if (route) {
      this.#send(() => (carrier.secure?.writable ? carrier.secure.close() : null));
      this.sending.then(() => route.line.close(route));
    }
    this.user.onover(error);
  }
}

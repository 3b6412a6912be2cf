/**
 * One lasting conversation with one host: requests and attachments over whatever link there is. Mirrors client/channel.py. A link
 * that is over is replaced: attachments resume, requests that may be repeated are asked again, input under its old number.
 */

import { HoldError, revived } from '../core/errors.js';
import { hostId } from '../core/ids.js';
import { CONTROL, INPUT } from '../wire/link.js';
import * as wire from '../wire/messages.js';
import { isSigned, signedBy } from '../wire/signing.js';
import { Bridge } from './bridge.js';

export const CREDIT = 1 << 17; // bytes on the way to a terminal that are not drawn: about 10 ms of its work
const AGAIN_S = 0.05;

/** One attachment, for as long as the page wants it. `on` hears attached, keyframe, output, gap, event, detached and failed. */
export class Attachment {
  constructor(host, number, ask, on) {
    this.host = host;
    this.number = number;
    this.ask = ask;
    this.on = on;
    this.over = false;
  }

  /** The viewer has taken so many bytes more. */
  credit(size) {
    this.host.say({ t: 'credit', attachment: this.number, size });
  }

  detach() {
    if (this.over) return;
    this.over = true;
    this.host.attachments.delete(this.number);
    this.host.say({ t: 'detach', attachment: this.number, cause: 'asked' });
  }
}

export class Host {
  /**
   * @param {import('./meeting.js').Meeting} meeting @param {Uint8Array} key @param {string} client this program's id
   * @param {() => void} onchange called when anything that is shown of the host may have changed
   */
  constructor(meeting, key, client, onchange = () => {}) {
    this.meeting = meeting;
    this.key = key;
    this.client = client;
    this.onchange = onchange;
    this.welcome = null;
    this.refusal = null; // why this host is not spoken to any more
    this.refs = 0;
    this.numbers = 0;
    this.asks = new Map();
    this.attachments = new Map();
    this.inputs = new Map(); // session -> number of its last input
    this.seq = BigInt(Date.now()) * 1000000n; // of signed verbs other than input
    this.terms = new Map(); // session -> term of control that this client knows
    this.seen = new Map(); // session -> position of the latest input that this client knows: what it stands on, if it is no person
    this.person = meeting.profile.kind === 'human'; // a person may type without having seen who else does
    this.saying = Promise.resolve();
    this.closed = false;
    this.#begin();
  }

  get up() {
    return this.bridge.up;
  }

  get age() {
    return this.bridge.age;
  }

  get trouble() {
    return this.refusal ?? this.bridge.trouble;
  }

  #begin() {
    this.bridge = new Bridge(this.meeting, this.key, {
      onmessage: (data) => this.#heard(data), onover: (error) => this.#over(error), onchange: () => this.onchange(),
    });
    this.say({ t: 'hello', version: wire.PROTOCOL, client: this.client, face: 'web', inside: '' });
    for (const each of this.attachments.values()) this.#attach(each);
    for (const each of this.asks.values()) this.say(each.message);
  }

  #over(error) {
    if (this.closed) return;
    for (const [ref, each] of this.asks) {
      if (each.again && !error) continue;
      this.asks.delete(ref);
      each.reject(error ?? new HoldError('host-unreachable', 'the host hung up before it answered; whether this was done is unknown', 'look, then try again'));
    }
    if (error) {
      this.refusal = error;
      for (const each of this.attachments.values()) each.on.failed?.(error);
      this.onchange();
    } else setTimeout(() => this.closed || this.#begin(), AGAIN_S * 1000);
  }

  /** Begin anew with a host that had refused. */
  retry() {
    if (!this.refusal) return;
    this.refusal = null;
    this.#begin();
  }

  close() {
    this.closed = true;
    this.bridge.close();
  }

  // ---- saying

  /** Say `message`; signed, where it has to be. In the order of the calls. */
  say(message) {
    const { bridge } = this;
    this.saying = this.saying.then(async () => {
      const lane = wire.isInput(message.t) ? INPUT : CONTROL;
      const said = isSigned(message.t) ? await this.#signed(message) : message;
      if (bridge === this.bridge) bridge.say(lane, wire.toHost(said));
    }).catch((error) => {
      if (message.ref && error.code !== 'link-over') this.#settle(message.ref, 'reject', error);
    });
  }

  async #signed(message) {
    const about = message.t === 'open' ? await hostId(this.key) : message.session;
    const seq = message.t === 'input' ? message.seq : (this.seq += 1n);
    if (message.t === 'input' && !this.person) message.basis = [this.seen.get(message.session) ?? 0, ''];
    return signedBy(this.meeting.profile.pair, message, wire.toHost(message), {
      about, client: this.client, seq, term: this.person ? 0 : this.terms.get(message.session) ?? 1,
    });
  }

  /**
   * Ask, and return the answer. `again`: it may be asked twice without harm. Throws what the host answers with.
   * @param {{t: string}} fields
   */
  ask(fields, { again = true } = {}) {
    const message = { ...fields, ref: (this.refs += 1) };
    return new Promise((resolve, reject) => {
      if (this.refusal) {
        reject(this.refusal);
        return;
      }
      this.asks.set(message.ref, { message, resolve, reject, again });
      this.say(message);
    });
  }

  /** Type `data`. At most once, whatever breaks: its number is its name. */
  type(session, data, attachment = 0) {
    const seq = (this.inputs.get(session) ?? 0) + 1;
    this.inputs.set(session, seq);
    return this.ask({ t: 'input', session, seq, data, attachment, term: 0 });
  }

  attach(ask, on) {
    const made = new Attachment(this, (this.numbers += 1), ask, on);
    this.attachments.set(made.number, made);
    this.#attach(made);
    return made;
  }

  #attach(it) {
    const { session, view, size = null, offset = null, observe = false, cursor = '', credit = CREDIT } = it.ask;
    it.ref = this.refs += 1;
    this.say({ t: 'attach', ref: it.ref, attachment: it.number, session, view, size, offset, observe, credit, cursor });
  }

  // ---- hearing

  #heard(data) {
    const message = wire.fromHost(data);
    if (!message) return;
    this.#learn(message);
    if (message.attachment !== undefined && message.t !== 'attached') {
      const it = this.attachments.get(message.attachment);
      if (!it) return;
      if (message.t === 'detached') {
        it.over = true;
        this.attachments.delete(it.number);
      }
      it.on[message.t]?.(message);
      return;
    }
    switch (message.t) {
      case 'welcome':
        this.welcome = message;
        this.onchange();
        break;
      case 'ping': this.say({ t: 'pong', mark: message.mark }); break;
      case 'attached': {
        const it = this.attachments.get(message.attachment);
        it?.on.attached?.(message);
        break;
      }
      case 'failed': this.#failed(message); break;
      default: this.#settle(message.ref, 'resolve', message);
    }
  }

  /** Every word about control brings its newest term. */
  #learn(message) {
    const told = (session, control) => {
      if (!control) return;
      this.terms.set(session, Math.max(control.term, this.terms.get(session) ?? 0));
      if (control.input) this.seen.set(session, Math.max(control.input, this.seen.get(session) ?? 0));
    };
    if (message.t === 'listing') message.sessions.forEach((each) => told(each.id, each.control));
    else if (message.t === 'attached' || message.t === 'opened') told(message.session.id, message.session.control);
    else if (message.t === 'controlled' || message.t === 'here') told(this.asks.get(message.ref)?.message.session, message.control);
    else if (message.t === 'event' && message.body?.term) told(this.attachments.get(message.attachment)?.ask.session, { term: message.body.term });
  }

  #failed(message) {
    const error = revived(message);
    const it = [...this.attachments.values()].find((each) => each.ref === message.ref);
    if (it) {
      it.over = true;
      this.attachments.delete(it.number);
      it.on.failed?.(error);
    } else this.#settle(message.ref, 'reject', error);
  }

  #settle(ref, how, value) {
    const ask = this.asks.get(ref);
    if (!ask) return;
    this.asks.delete(ref);
    ask[how](value);
  }
}

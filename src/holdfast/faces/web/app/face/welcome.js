/** The first page: join with a code, or enter with a link. */

import { join } from '../client/joining.js';
import { isJoinCode } from '../core/invitations.js';
import { h } from './dom.js';

/** A name to go by, from what the browser says of its device. */
export function deviceName() {
  const { userAgent = '' } = navigator;
  const device = /iPhone|iPad|Android|Macintosh|Windows|CrOS|Linux/.exec(userAgent)?.[0] ?? 'device';
  const browser = /Firefox|Edg|OPR|Chrome|Safari/.exec(userAgent)?.[0] ?? 'browser';
  return `${{ Macintosh: 'mac', CrOS: 'chromebook' }[device] ?? device.toLowerCase()}-${{ Edg: 'edge', OPR: 'opera' }[browser] ?? browser.toLowerCase()}`;
}

/** Whether this browser can do what is needed, in words; '' if it can. */
export async function wanting() {
  if (!window.isSecureContext) {
    return 'A browser keeps keys only for pages that came safely. Open this page by https, or on the machine itself by http://127.0.0.1.';
  }
  try {
    await crypto.subtle.generateKey({ name: 'Ed25519' }, false, ['sign', 'verify']);
    await crypto.subtle.generateKey({ name: 'X25519' }, false, ['deriveBits']);
    return '';
  } catch {
    return 'This browser does not know the keys that are needed (Ed25519 and X25519). A current Chrome, Edge, Firefox or Safari does.';
  }
}

export class Welcome {
  constructor(app, { onjoined, onback }) {
    this.app = app;
    this.onjoined = onjoined;
    this.code = h('textarea', { name: 'code', rows: 3, required: true, placeholder: 'HOLD1…', 'aria-label': 'Join code', autocomplete: 'off', spellcheck: false });
    this.name = h('input', { name: 'name', value: deviceName(), maxLength: 64, 'aria-label': 'Name of this device', autocomplete: 'off' });
    this.said = h('p.said', { role: 'status', 'aria-live': 'polite' });
    this.number = h('.sas', { hidden: true });
    this.send = h('button.primary', { type: 'submit' }, 'Join');
    this.back = h('button', { type: 'button', hidden: true, onclick: onback }, 'Back');
    this.form = h('form', { onsubmit: (event) => this.#submit(event) },
      h('label', {}, h('span', {}, 'Join code'), this.code),
      h('label', {}, h('span', {}, 'Name of this device'), this.name),
      this.send, this.back);
    this.element = h('main.welcome', { 'aria-label': 'Join' },
      h('.mark', { 'aria-hidden': 'true' }), h('h1', {}, 'Holdfast'),
      h('p', {}, 'Your running sessions, from here. On the machine where they run, ', h('code', {}, 'hold up'), ' or ', h('code', {}, 'hold pair'), ' gives a code.'),
      this.form, this.number, this.said,
      h('p.small', {}, 'The key is made in this browser and stays here. What is typed and shown is sealed between here and your machine.'));
  }

  /** Join with a code from the address. */
  begin(code) {
    this.code.value = code;
    this.form.requestSubmit();
  }

  async #submit(event) {
    event.preventDefault();
    const code = this.code.value.trim().replace(/^.*#/, '');
    if (!isJoinCode(code)) {
      this.said.textContent = 'A join code begins with HOLD1.';
      return;
    }
    this.send.disabled = true;
    this.said.textContent = 'Joining…';
    try {
      const profile = await join(code, this.app.store, {
        name: this.name.value.trim(), origin: location.origin, onnumber: (digits) => this.#show(digits),
      });
      this.number.hidden = true;
      this.onjoined(profile);
    } catch (error) {
      this.number.hidden = true;
      this.said.textContent = error.whole ?? error.message;
    } finally {
      this.send.disabled = false;
    }
  }

  #show(digits) {
    this.number.hidden = false;
    this.number.replaceChildren(
      h('p', {}, 'The other machine shows a number, too. If it is this one, say yes there:'),
      h('p.digits', { 'aria-label': [...digits].join(' ') }, `${digits.slice(0, 3)} ${digits.slice(3)}`));
    this.said.textContent = 'Waiting for the other machine…';
  }
}

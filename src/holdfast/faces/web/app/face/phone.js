/** The lower edge of a session on a phone: a field that submits whole lines at once, and keys that a phone has not. */

import { utf8 } from '../core/bytes.js';
import { h, icon } from './dom.js';
import { submission, withCtrl } from './keys.js';

const BAR = [['Esc', 'Escape'], ['Tab', 'Tab'], ['Ctrl', 'Control, for the next key'], ['^C', 'Control C'], ['Up', 'Up'], ['Down', 'Down'], ['Left', 'Left'], ['Right', 'Right'], ['|', 'Pipe'], ['/', 'Slash'], ['-', 'Hyphen'], ['~', 'Tilde'], ['^D', 'Control D'], ['^Z', 'Control Z'], ['PgUp', 'Page up'], ['PgDn', 'Page down'], ['Home', 'Home'], ['End', 'End']];
const SHOWN = { Up: '↑', Down: '↓', Left: '←', Right: '→' };
const REPEAT_AFTER_MS = 400;
const REPEAT_MS = 60;
const HISTORY_MAX = 50;

export class Compose {
  /** @param {import('./session.js').SessionView} view */
  constructor(view) {
    this.view = view;
    this.ctrl = false;
    this.history = [];
    // A real text field: on-screen keyboards correct, suggest and dictate into it, and what is sent is one input of one author.
    this.field = h('textarea', { rows: 1, 'aria-label': 'Compose', placeholder: 'Type here, send as one', autocapitalize: 'off', autocomplete: 'off', spellcheck: false, enterKeyHint: 'send' });
    this.field.setAttribute('autocorrect', 'off');
    this.sendButton = h('button.send', { type: 'submit', 'aria-label': 'Send' }, icon('send'));
    this.form = h('form.compose', { onsubmit: (event) => this.#submit(event) }, this.field, this.sendButton);
    this.keys = h('.keys', { role: 'toolbar', 'aria-label': 'Keys' }, BAR.map(([key, label]) => this.#button(key, label)));
    this.element = h('.lower', {}, this.keys, this.form);
    this.field.addEventListener('input', () => this.#grow());
    this.field.addEventListener('keydown', (event) => this.#key(event));
  }

  #button(key, label) {
    const button = h('button.key', { type: 'button', 'aria-label': label, tabIndex: 0 }, SHOWN[key] ?? key);
    if (key === 'Ctrl') {
      this.ctrlButton = button;
      button.setAttribute('aria-pressed', 'false');
    }
    let timer = null;
    const stop = () => {
      clearTimeout(timer);
      timer = null;
    };
    button.addEventListener('pointerdown', (event) => {
      event.preventDefault(); // the keyboard stays as it is
      this.press(key);
      if (key === 'Ctrl') return;
      const again = () => {
        this.press(key);
        timer = setTimeout(again, REPEAT_MS);
      };
      timer = setTimeout(again, REPEAT_AFTER_MS);
    });
    for (const end of ['pointerup', 'pointerleave', 'pointercancel']) button.addEventListener(end, stop);
    button.addEventListener('keydown', (event) => {
      if (event.key !== 'Enter' && event.key !== ' ') return;
      event.preventDefault();
      this.press(key);
    });
    return button;
  }

  press(key) {
    if (key === 'Ctrl') {
      this.#hold(!this.ctrl);
      return;
    }
    const control = /^\^(.)$/.exec(key);
    if (control) this.view.terminal.type(utf8(withCtrl(control[1])));
    else if (this.ctrl) this.view.terminal.type(utf8(withCtrl(key)));
    else this.view.terminal.key(key);
    this.#hold(false);
  }

  #hold(on) {
    this.ctrl = on;
    this.ctrlButton.setAttribute('aria-pressed', String(on));
  }

  #key(event) {
    if (event.isComposing) return;
    if (this.ctrl && event.key.length === 1) {
      event.preventDefault();
      this.view.terminal.type(utf8(withCtrl(event.key)));
      this.#hold(false);
    } else if (event.key === 'Enter' && !event.shiftKey) {
      event.preventDefault();
      this.form.requestSubmit();
    } else if (event.key === 'ArrowUp' && !this.field.value && this.history.length) {
      event.preventDefault();
      this.field.value = this.history.at(-1);
      this.#grow();
    }
  }

  #grow() {
    this.field.rows = Math.min(5, this.field.value.split('\n').length);
  }

  async #submit(event) {
    event.preventDefault();
    const text = this.field.value;
    if (text.trim()) this.history = [...this.history.filter((each) => each !== text), text].slice(-HISTORY_MAX);
    this.field.value = '';
    this.#grow();
    await this.view.terminal.type(utf8(submission(text, { bracketed: this.view.terminal.bracketed })));
  }
}

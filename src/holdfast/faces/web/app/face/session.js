/** One session, opened: its head, its screen or blocks, what stands beside it, and on a phone the lower edge. */

import * as grants from '../core/grants.js';
import { Commands } from './commands.js';
import { clean, h, icon, say, size } from './dom.js';
import { doing, isOver, mark } from './list.js';
import { Approvals, People, Tuple, describe, possible } from './panels.js';
import { Compose } from './phone.js';
import { TerminalView } from './terminal.js';

const NOTE_S = 8;

export class SessionView {
  /** @param {import('./app.js').App} app @param {{phone: boolean, scheme: string, onback: () => void, onclose: () => void}} place */
  constructor(app, host, info, place) {
    this.app = app;
    this.host = host;
    this.info = info;
    this.id = info.id;
    this.place = place;
    const rights = host.place.profile.may(info.id, Date.now() / 1000);
    this.rights = rights;
    this.operates = Boolean(rights & grants.OPERATE) && !isOver(info);
    this.person = host.place.profile.kind === 'human';
    this.me = host.place.me ?? '';
    this.mode = place.phone && !['full-screen', 'keypress'].includes(info.waiting) ? 'blocks' : 'screen';
    this.terminal = new TerminalView(host, info, {
      operates: this.operates, scheme: place.scheme, phone: place.phone, reader: place.reader,
      onnote: (text) => this.note(text), ontyped: (said) => this.#typed(said), onended: (said) => this.#ended(said), onfailed: (error) => this.note(error.whole, true),
      onattached: (said) => this.#attached(said), onstale: () => this.panels[0].refresh(true), onpainted: () => this.element.dispatchEvent(new Event('painted')),
    });
    this.commands = new Commands(this);
    this.panels = [new People(this), new Approvals(this), new Tuple(this)];
    this.compose = new Compose(this);
    this.#build();
    this.update();
  }

  #build() {
    this.dot = h('span.dot', { 'aria-hidden': 'true' });
    this.title = h('h1', {}, clean(this.info.name));
    this.does = h('span.does', {});
    this.control_ = h('span.control', { role: 'status', 'aria-live': 'polite' });
    this.controls = h('.controls', {});
    const views = [['blocks', 'Blocks'], ['screen', 'Screen']];
    this.modes = h('.segments', { role: 'group', 'aria-label': 'View' }, views.map(([mode, label]) => h('button', { 'data-mode': mode, onclick: () => this.show(mode) }, label)));
    this.fitButton = h('button.icon-button', { title: 'Give the session the size of this window', 'aria-label': 'Use my size', onclick: () => this.terminal.takeSize().then(() => this.place.phone || this.terminal.focus()) }, icon('fit'));
    this.findButton = h('button.icon-button', { title: 'Find on the screen (Ctrl-Shift-F)', 'aria-label': 'Find', onclick: () => this.find() }, icon('search'));
    this.sideButton = h('button.icon-button', { title: 'People, approvals, processes', 'aria-label': 'Details', 'aria-expanded': 'false', onclick: () => this.toggleSide() }, icon('panel'), this.badge = h('span.badge', { hidden: true }));
    this.backButton = h('button.icon-button.back', { title: 'Sessions', 'aria-label': 'Back to sessions', onclick: () => this.place.onback() }, icon('back'));
    this.head = h('header.head', {}, this.backButton, this.dot, h('.head-name', {}, this.title, this.does), this.control_, this.controls, this.modes, this.findButton, this.fitButton, this.sideButton);
    this.notes = h('p.note', { role: 'status', 'aria-live': 'polite', hidden: true });
    this.findField = h('input', { type: 'search', 'aria-label': 'Find on the screen', placeholder: 'Find', oninput: () => this.#look(), onkeydown: (event) => this.#findKey(event) });
    this.finder = h('.finder', { hidden: true }, this.findField, h('button.icon-button', { 'aria-label': 'Close find', onclick: () => this.find(false) }, icon('close')));
    this.main = h('.stage', {}, this.commands.element, this.terminal.element);
    this.tabs = h('.side-tabs', { role: 'tablist', 'aria-label': 'Details' }, this.panels.map((panel, at) => h('button', { role: 'tab', id: `tab-${this.id}-${at}`, onclick: () => this.panel(at) }, panel.label)));
    this.panels.forEach((panel, at) => {
      panel.element.setAttribute('role', 'tabpanel');
      panel.element.setAttribute('aria-labelledby', `tab-${this.id}-${at}`);
    });
    this.tabs.addEventListener('keydown', (event) => this.#tabKey(event));
    this.side = h('aside.side', { hidden: true, 'aria-label': 'Details' }, h('.side-head', {}, this.tabs, h('button.icon-button.side-close', { 'aria-label': 'Close details', onclick: () => this.toggleSide(false) }, icon('close'))), this.panels.map((panel) => panel.element));
    this.element = h('main.opened', { 'aria-label': `Session ${this.info.name}` }, this.head, this.notes, this.finder, h('.middle', {}, this.main, this.side), this.compose.element);
    this.panel(0);
  }

  /** Stand in the page: begin to show. */
  open() {
    this.terminal.open();
    this.show(this.mode);
  }

  close() {
    this.commands.shown(false);
    this.terminal.close();
    this.element.remove();
  }

  // ---- what is shown

  show(mode) {
    this.mode = mode;
    this.element.dataset.mode = mode;
    for (const button of this.modes.children) button.setAttribute('aria-pressed', String(button.dataset.mode === mode));
    this.commands.shown(mode === 'blocks');
    if (mode === 'screen') this.terminal.layOut();
  }

  panel(at) {
    this.shown = at;
    this.panels.forEach((panel, each) => {
      panel.element.hidden = each !== at;
      this.tabs.children[each].setAttribute('aria-selected', String(each === at));
      this.tabs.children[each].tabIndex = each === at ? 0 : -1;
    });
    if (this.side && !this.side.hidden) this.panels[at].refresh(true);
  }

  #tabKey(event) {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    this.panel((this.shown + step + this.panels.length) % this.panels.length);
    this.tabs.children[this.shown].focus();
  }

  toggleSide(open = this.side.hidden) {
    this.side.hidden = !open;
    this.sideButton.setAttribute('aria-expanded', String(open));
    if (open) {
      this.panel(this.shown);
      if (this.place.phone) this.tabs.children[this.shown].focus();
    } else this.sideButton.focus();
  }

  find(open = this.finder.hidden) {
    this.finder.hidden = !open;
    if (open) {
      this.show('screen');
      this.findField.focus();
    } else {
      this.terminal.search.clearDecorations();
      this.terminal.focus();
    }
  }

  #look(back = false) {
    const options = { decorations: { matchBackground: '#665a1f', matchOverviewRuler: '#665a1f', activeMatchBackground: '#a8861b', activeMatchColorOverviewRuler: '#a8861b' } };
    const { value } = this.findField;
    if (value) this.terminal.search[back ? 'findPrevious' : 'findNext'](value, options);
  }

  #findKey(event) {
    if (event.key === 'Enter') this.#look(event.shiftKey);
    else if (event.key === 'Escape') this.find(false);
    else return;
    event.preventDefault();
  }

  /** Say something for a while; `stays`: until something else is said. */
  note(text, stays = false) {
    say(this.notes, text);
    this.notes.hidden = !text;
    clearTimeout(this.noteTimer);
    if (!stays) this.noteTimer = setTimeout(() => { this.notes.hidden = true; }, NOTE_S * 1000);
  }

  /** Something that is shown may have changed. */
  update() {
    const known = this.app.session(this.id);
    if (known) this.info = known.info;
    const { info } = this;
    say(this.title, clean(info.name));
    this.dot.dataset.state = mark(info);
    say(this.does, `${clean(this.app.name(this.host))} · ${doing(info)}`);
    this.#controlled();
    this.fitButton.hidden = !this.operates;
    this.element.classList.toggle('looks-only', !this.operates);
    const panel = this.panels[this.shown];
    if (!this.side.hidden) panel.refresh();
    if (this.host.up && this.panels[1].supported) this.panels[1].refresh();
    this.commands.update();
  }

  /** Offset after the last byte of output, as far as it was told. */
  get end() {
    return this.info.output_end;
  }

  /** How many proposals wait changed. */
  counted() {
    const { count } = this.panels[1];
    this.badge.hidden = !count;
    say(this.badge, String(count));
    this.sideButton.setAttribute('aria-label', count ? `Details, ${count} wait for approval` : 'Details');
    if (count) this.note(`${count === 1 ? 'Something waits' : `${count} things wait`} for approval.`);
  }

  // ---- control

  learnControl(control) {
    if (!control) return;
    this.info.control = control;
    this.#controlled();
  }

  #controlled() {
    const { control } = this.info;
    const plain = !control || (control.state === 'free' && !control.holder);
    say(this.control_, !this.operates && !isOver(this.info) ? 'You look' : plain ? '' : describe(control, this.me));
    const acts = plain ? [] : possible(control, this);
    const key = acts.map(([act]) => act).join();
    if (this.controls.dataset.acts === key) return;
    this.controls.dataset.acts = key;
    this.controls.replaceChildren(...acts.map(([act, label]) => h(act === 'take' ? 'button.primary' : 'button', { onclick: () => this.control(act) }, label)));
  }

  async control(act, more = {}) {
    try {
      const said = await this.host.ask({ t: 'control', session: this.id, act, to: '', why: '', job: 'leave', ...more });
      this.learnControl(said.control);
      const gone = [said.dropped && `${said.dropped} inputs were not typed`, said.flushed > 0 && `${size(said.flushed)} thrown away`, said.cleared && 'the line was cleared'].filter(Boolean);
      if (gone.length) this.note(`${describe(said.control, this.me)} ${gone.join(', ')}.`);
    } catch (error) {
      this.note(error.whole);
    }
    this.panels[0].refresh(true);
  }

  // ---- what happens

  #attached(said) {
    this.info = { ...this.info, ...said.session };
    this.learnControl(said.session.control);
    this.note('');
    // As with a terminal's own window: who comes alone decides the size. A phone never does unless asked.
    if (!this.place.phone && this.operates && said.session.attached <= 1) this.terminal.takeSize();
  }

  #typed(said) {
    if (said.outcome === 'applied') return;
    const words = { partial: `only ${said.written} bytes reached the terminal`, refused: 'it was not typed: nothing takes input now', unknown: 'whether it was typed is unknown: look before you type it again' };
    this.note(words[said.outcome] ?? said.outcome);
  }

  #ended(said) {
    if (said.ending) {
      const { how, status } = said.ending;
      this.note(`It has ended: ${status === null || status === undefined ? how : status < 0 ? `signal ${-status}` : `exit ${status}`}. What it showed last is kept.`, true);
      this.operates = false;
    } else if (said.cause === 'revoked') this.note('Your right to this session has ended.', true);
    else this.note(`No longer attached (${said.cause}).`, true);
    this.app.look(this.host);
  }
}


/** The list of sessions, by host, with their live state; searched by name, command, folder and host. */

import { arrange, clean, h, icon, say, span } from './dom.js';
import { standing } from './status.js';

const OVER = new Set(['exited', 'killed', 'reaped', 'lost']);
export const isOver = (info) => OVER.has(info.state);
const WAITS = { line: 'waits for a line', password: 'waits for a password', keypress: 'waits for a key', 'full-screen': 'full screen', prompt: 'at its prompt' };

/** What a session does, in a few words. */
export function doing(info) {
  if (isOver(info)) {
    const { how, status, at } = info.ending ?? {};
    const ended = status === null || status === undefined ? how ?? info.state : status < 0 ? `signal ${-status}` : `exit ${status}`;
    return `${ended}, ${span(Date.now() / 1000 - (at ?? 0))} ago`;
  }
  if (WAITS[info.waiting]) return WAITS[info.waiting];
  return info.idle_s < 5 ? 'active' : `quiet ${span(info.idle_s)}`;
}

/** How a session is marked: live, waiting, idle, ended or failed. */
export function mark(info) {
  if (isOver(info)) return info.ending?.status === 0 ? 'ended' : 'failed';
  if (info.waiting === 'password' || info.waiting === 'line' || info.waiting === 'keypress') return 'waiting';
  return info.idle_s < 5 ? 'live' : 'idle';
}

export class SessionList {
  constructor(app, { onopen, onnew }) {
    this.app = app;
    this.onopen = onopen;
    this.search = h('input', { type: 'search', placeholder: 'Search sessions', 'aria-label': 'Search sessions', autocomplete: 'off', spellcheck: false, oninput: () => this.update() });
    this.body = h('.list-body', {});
    this.none = h('p.none', {});
    this.fresh = h('button.icon-button', { title: 'New session', 'aria-label': 'New session', onclick: onnew }, icon('plus'));
    this.element = h('nav.list', { 'aria-label': 'Sessions' },
      h('.list-head', {}, h('.search', {}, icon('search'), this.search), this.fresh), this.body, this.none);
    this.rows = new Map();
    this.groups = new Map();
    this.current = '';
    this.search.addEventListener('keydown', (event) => {
      const first = this.body.querySelector('button.session');
      if (event.key === 'Enter') first?.click();
      else if (event.key === 'ArrowDown') first?.focus();
      else return;
      event.preventDefault();
    });
    this.body.addEventListener('keydown', (event) => this.#move(event));
  }

  #move(event) {
    if (event.key !== 'ArrowDown' && event.key !== 'ArrowUp') return;
    const all = [...this.body.querySelectorAll('button.session')];
    const at = all.indexOf(document.activeElement);
    if (at < 0) return;
    event.preventDefault();
    (all[at + (event.key === 'ArrowDown' ? 1 : -1)] ?? (event.key === 'ArrowUp' ? this.search : null))?.focus();
  }

  update() {
    const words = this.search.value.toLowerCase().split(/\s+/).filter(Boolean);
    const groups = [];
    let count = 0;
    for (const host of this.app.hosts) {
      const name = clean(this.app.name(host));
      const stands = standing(host, name);
      const infos = (host.sessions ?? []).filter((info) => {
        const text = `${info.name} ${info.argv.join(' ')} ${info.cwd} ${info.title} ${name}`.toLowerCase();
        return words.every((word) => text.includes(word));
      });
      infos.sort((a, b) => isOver(a) - isOver(b) || b.created_at - a.created_at);
      count += infos.length;
      groups.push(this.#group(host, name, stands, infos));
    }
    arrange(this.body, groups);
    const loading = this.app.hosts.some((host) => host.sessions === null && !host.trouble);
    say(this.none, loading || count ? '' : words.length ? 'Nothing fits.' : this.app.hosts.some((host) => host.up) ? 'No sessions yet.' : '');
    this.none.hidden = !this.none.textContent;
    this.fresh.hidden = !this.app.hosts.some((host) => host.place.profile.may(null, Date.now() / 1000) & 4);
  }

  #group(host, name, stands, infos) {
    let group = this.groups.get(host.id);
    if (!group) {
      group = { dot: h('span.dot', { 'aria-hidden': 'true' }), name: h('span.host-name', {}), said: h('span.host-said', {}), rows: h('ul', {}) };
      group.element = h('section', {}, h('h2', {}, group.dot, group.name, group.said), group.rows);
      this.groups.set(host.id, group);
    }
    say(group.name, name);
    group.element.setAttribute('aria-label', `Sessions on ${name}`);
    group.dot.dataset.state = stands.state;
    say(group.said, stands.state === 'up' ? '' : stands.text.replace(`${name}: `, ''));
    arrange(group.rows, infos.map((info) => this.#row(host, info)));
    return group.element;
  }

  #row(host, info) {
    let row = this.rows.get(info.id);
    if (!row) {
      row = { dot: h('span.dot', { 'aria-hidden': 'true' }), name: h('span.name', {}), does: h('span.does', {}), what: h('span.what', {}), who: h('span.who', {}) };
      row.button = h('button.session', { onclick: () => this.onopen(info.id) }, row.dot, row.name, row.does, row.what, row.who);
      row.element = h('li', {}, row.button);
      this.rows.set(info.id, row);
    }
    row.dot.dataset.state = mark(info);
    say(row.name, clean(info.name));
    say(row.does, doing(info));
    say(row.what, clean(info.title || info.argv.join(' ')));
    const held = info.control?.state === 'held' ? ` · ${info.control.kind}` : info.control?.state === 'paused' ? ' · AI paused' : '';
    say(row.who, info.attached ? `${info.attached} here${held}` : held.replace(' · ', ''));
    if (info.id === this.current) row.button.setAttribute('aria-current', 'page');
    else row.button.removeAttribute('aria-current');
    return row.element;
  }
}

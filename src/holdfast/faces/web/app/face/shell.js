/** The page as a whole: list, tabs, the open session, the state of the links; its two layouts and its one address. */

import { enter } from '../client/joining.js';
import { isJoinCode, isShare } from '../core/invitations.js';
import { operatorId } from '../core/ids.js';
import { arrange, ask, clean, h, icon, say } from './dom.js';
import { SessionList, mark } from './list.js';
import { askForSession } from './panels.js';
import { SessionView } from './session.js';
import { NoticeChoice } from './notices.js';
import { standing } from './status.js';
import { Welcome } from './welcome.js';

const PHONE = window.matchMedia('(max-width: 759px)');
const LIGHT = window.matchMedia('(prefers-color-scheme: light)');
const REFERENCES = 'holdfast-tabs'; // what is open: references only

export class Shell {
  constructor(app) {
    this.app = app;
    this.views = new Map(); // session id -> SessionView
    this.tabs = [];
    this.current = '';
    this.wanted = '';
    this.list = new SessionList(app, { onopen: (id) => this.go(id), onnew: () => this.fresh() });
    this.tabBar = h('.tabs', { role: 'tablist', 'aria-label': 'Open sessions' });
    this.stage = h('.place', {}, this.empty = h('main.empty', { 'aria-label': 'No session open' }, h('p', {}, 'Choose a session.'), h('p.small', {}, 'Ctrl-K searches. F6 moves between list, screen and details.')));
    this.status = h('footer.status', { role: 'status' });
    this.account = h('button.account', { onclick: () => this.whoami() });
    this.list.element.append(h('.list-foot', {}, this.account));
    this.skip = h('a.skip', { href: '#', onclick: (event) => { event.preventDefault(); this.views.get(this.current)?.terminal.focus(); } }, 'Skip to the screen');
    this.work = h('.work', { hidden: true }, this.skip, this.list.element, h('.right', {}, this.tabBar, this.stage), this.status);
    this.welcome = new Welcome(app, { onjoined: (profile) => this.joined(profile), onback: () => { this.joining = false; this.update(); } });
    this.welcome.element.hidden = true;
    document.getElementById('app').replaceChildren(this.work, this.welcome.element);
    app.addEventListener('change', () => this.update());
    setInterval(() => this.tell(), 1000);
    PHONE.addEventListener('change', () => this.relayout());
    LIGHT.addEventListener('change', () => this.recolour());
    window.addEventListener('hashchange', () => this.follow());
    navigator.serviceWorker?.addEventListener('message', ({ data }) => typeof data?.open === 'string' && this.go(data.open));
    window.addEventListener('keydown', (event) => this.#key(event), true);
    this.#keyboard();
    this.recolour();
  }

  get scheme() {
    return LIGHT.matches ? 'light' : 'dark';
  }

  /** Begin: what the address says comes first. */
  async begin() {
    await this.#invitation();
    this.follow();
    this.update();
  }

  /** A code or link behind the # is used and taken out of the address: it is a secret. */
  async #invitation() {
    const fragment = decodeURIComponent(location.hash.slice(1));
    if (!isJoinCode(fragment) && !isShare(fragment)) return;
    history.replaceState(null, '', '/');
    if (isJoinCode(fragment)) {
      this.welcome.element.hidden = false;
      this.welcome.begin(fragment);
      return;
    }
    try {
      const profile = await enter(fragment, this.app.store, { origin: location.origin });
      await this.joined(profile);
      this.go(profile.session);
    } catch (error) {
      this.welcome.said.textContent = error.whole ?? error.message;
    }
  }

  async joined(profile) {
    this.joining = false;
    await this.app.enter(profile);
    this.update();
  }

  // ---- where we are

  /** Open a session; the address is its id and nothing else. */
  go(id) {
    const hash = id ? `#/${id}` : '#/';
    if (location.hash === hash) this.follow();
    else location.hash = hash;
  }

  follow() {
    const fragment = location.hash.slice(1);
    if (isJoinCode(decodeURIComponent(fragment)) || isShare(fragment)) {
      this.#invitation();
      return;
    }
    this.wanted = /^\/(s-[a-z2-7]{26})$/.exec(fragment)?.[1] ?? '';
    this.update();
  }

  update() {
    const { app } = this;
    const joined = app.places.length > 0;
    this.work.hidden = !joined || Boolean(this.joining);
    this.welcome.element.hidden = joined && !this.joining;
    this.welcome.back.hidden = !joined;
    if (!joined) {
      document.title = 'Holdfast';
      return;
    }
    this.#show();
    this.list.current = this.current;
    this.list.update();
    say(this.account, app.places.map(({ profile }) => clean(profile.called || profile.kind)).join(', '));
    this.account.setAttribute('aria-label', `You are ${this.account.textContent}`);
    this.#tabs();
    for (const [id, view] of this.views) if (id === this.current) view.update();
    this.tell();
  }

  /** Show the session that is wanted, once it is known. */
  #show() {
    const id = this.wanted;
    document.body.dataset.page = id ? 'session' : 'list';
    if (id === this.current && (!id || this.views.has(id))) return;
    const known = id ? this.app.session(id) : null;
    if (id && !known) {
      const looking = this.app.hosts.some((host) => host.sessions === null);
      say(this.empty.firstChild, looking ? 'Looking for this session…' : 'No session here that you may reach by this address.');
      if (this.current) this.#leave();
      return;
    }
    say(this.empty.firstChild, 'Choose a session.');
    this.#leave();
    this.current = id;
    this.empty.hidden = Boolean(id);
    if (!id) return;
    if (!this.tabs.includes(id)) this.tabs.push(id);
    this.#keep();
    if (!this.views.has(id)) this.#open(known);
    const view = this.views.get(id);
    view.element.hidden = false;
    document.title = `${clean(known.info.name)} · Holdfast`;
    if (!PHONE.matches) view.terminal.focus();
  }

  #open({ host, info }) {
    const view = new SessionView(this.app, host, info, {
      phone: PHONE.matches, scheme: this.scheme, reader: false, onback: () => this.go(''),
    });
    this.views.set(info.id, view);
    this.stage.append(view.element);
    view.open();
    view.element.addEventListener('painted', () => performance.mark('holdfast-first-paint'), { once: true });
  }

  #leave() {
    const view = this.views.get(this.current);
    if (view) view.element.hidden = true;
    this.current = '';
    this.empty.hidden = false;
    document.title = 'Holdfast';
  }

  closeTab(id) {
    this.views.get(id)?.close();
    this.views.delete(id);
    this.tabs = this.tabs.filter((each) => each !== id);
    this.#keep();
    if (this.wanted === id) this.go(this.tabs.at(-1) ?? '');
    else this.update();
  }

  #keep() {
    try {
      localStorage.setItem(REFERENCES, JSON.stringify(this.tabs));
    } catch {
      // a browser that keeps nothing: the open tab is in the address
    }
  }

  /** What was open when this page was left, as far as it still is there. */
  recall() {
    try {
      this.tabs = JSON.parse(localStorage.getItem(REFERENCES) ?? '[]').filter((each) => /^s-[a-z2-7]{26}$/.test(each));
    } catch {
      this.tabs = [];
    }
  }

  #tabs() {
    this.tabRows ??= new Map();
    const shown = this.tabs.map((id) => [id, this.app.session(id)]).filter(([, known]) => known);
    this.tabBar.hidden = shown.length === 0;
    arrange(this.tabBar, shown.map(([id, { info }]) => {
      let tab = this.tabRows.get(id);
      if (!tab) {
        tab = { dot: h('span.dot', { 'aria-hidden': 'true' }), name: h('span', {}) };
        tab.button = h('button', { role: 'tab', onclick: () => this.go(id) }, tab.dot, tab.name);
        tab.close = h('button.icon-button', { onclick: () => this.closeTab(id) }, icon('close'));
        tab.element = h('.tab', { role: 'presentation' }, tab.button, tab.close);
        this.tabRows.set(id, tab);
      }
      tab.dot.dataset.state = mark(info);
      say(tab.name, clean(info.name));
      tab.close.setAttribute('aria-label', `Close the tab ${info.name}; the session runs on`);
      tab.button.setAttribute('aria-selected', String(id === this.current));
      return tab.element;
    }));
  }

  /** Say how the hosts stand: the one of the open session, else each that is not well. */
  tell() {
    const { app } = this;
    const current = this.views.get(this.current)?.host;
    const hosts = current ? [current] : app.hosts;
    const stands = hosts.map((host) => standing(host, clean(app.name(host))));
    const worst = ['refused', 'down', 'late', 'opening', 'up'].find((state) => stands.some((each) => each.state === state)) ?? 'up';
    this.status.dataset.state = worst;
    const troubles = app.places.flatMap((place) => (place.trouble ? [place.trouble.message] : []));
    say(this.status, [...stands.map((each) => each.text), ...(worst === 'up' ? [] : troubles)].join('   '));
  }

  // ---- acts

  async fresh() {
    const hosts = this.app.hosts.filter((host) => host.up && host.place.profile.may(null, Date.now() / 1000) & 4).map((host) => ({ id: host.id, name: clean(this.app.name(host)) }));
    if (!hosts.length) return;
    const said = await askForSession(hosts);
    if (!said) return;
    const host = this.app.host(said.host);
    const view = this.views.get(this.current);
    const plain = /^[\w./ :@%+=,-]*$/.test(said.command);
    const argv = !said.command.trim() ? [] : plain ? said.command.trim().split(/\s+/) : ['/bin/sh', '-c', said.command];
    try {
      const { session } = await host.ask({
        t: 'open', argv, env: {}, cwd: '', size: view?.terminal.wished() ?? [24, 80], name: said.name, reuse: false, policy: null, key: crypto.randomUUID(),
      });
      await this.app.look(host);
      this.go(session.id);
    } catch (error) {
      await ask('It was not started', [h('p', {}, error.whole)], { no: '' });
    }
  }

  /** Who this browser is, where, until when; and how to stop being that. */
  async whoami() {
    const cards = this.app.places.map((place) => {
      const { profile } = place;
      const until = new Date(profile.certificate.notAfter * 1000).toLocaleString();
      return h('.card', {},
        h('p', {}, h('strong', {}, clean(profile.called || profile.kind)), ` ${profile.kind}`),
        h('p.small.address', {}, place.me ?? ''),
        h('p.small', {}, `Certified until ${until}${profile.kind === 'guest' ? '' : ', renewed while it is online'}. Relays: ${profile.relays.map(clean).join(', ')}`),
        h('.buttons', {}, h('button', { type: 'button', onclick: () => this.forget(place) }, 'Forget this key')));
    });
    const said = await ask('You, in this browser', [...cards, new NoticeChoice(this.app).element], { yes: 'Join with another code', no: 'Close' });
    if (!said) return;
    this.joining = true;
    this.update();
    this.welcome.code.focus();
  }

  async forget(place) {
    document.querySelector('dialog[open]')?.close('');
    const said = await ask('Forget this key?', [h('p', {}, 'It cannot be brought back: to return you need another code. Sessions run on. If the device is lost, revoke it instead: hold revoke.')],
      { yes: 'Forget', danger: true });
    if (!said) return;
    for (const id of [...this.views.keys()]) if (this.views.get(id).host.place === place) this.closeTab(id);
    await this.app.leave(place);
    this.go('');
  }

  // ---- layout

  relayout() {
    for (const view of this.views.values()) {
      view.place.phone = PHONE.matches;
      view.terminal.user.phone = PHONE.matches;
      view.terminal.layOut();
    }
  }

  recolour() {
    document.documentElement.dataset.scheme = this.scheme;
    document.querySelector('meta[name=theme-color]')?.setAttribute('content', this.scheme === 'light' ? '#f4f5f3' : '#14181e');
    for (const view of this.views.values()) view.terminal.recolour(this.scheme);
  }

  /** On-screen keyboards cover what the page thinks it has: the page is as high as what is left. */
  #keyboard() {
    const { visualViewport } = window;
    if (!visualViewport) return;
    const fit = () => {
      const covered = visualViewport.scale === 1 ? window.innerHeight - visualViewport.height - visualViewport.offsetTop : 0;
      document.documentElement.style.setProperty('--covered', `${Math.max(0, Math.round(covered))}px`);
    };
    visualViewport.addEventListener('resize', fit);
    visualViewport.addEventListener('scroll', fit);
    fit();
  }

  /** F6 goes around the regions, Ctrl-K to the search; nothing else is taken from programs. */
  #key(event) {
    if (event.key === 'F6' && !event.shiftKey) {
      event.preventDefault();
      this.#next();
    } else if (event.key.toLowerCase() === 'k' && ((event.ctrlKey && event.shiftKey) || (event.metaKey && !event.shiftKey) || (event.ctrlKey && !this.#inTerminal()))) {
      event.preventDefault();
      this.list.search.focus();
    } else if (event.key.toLowerCase() === 'f' && event.ctrlKey && event.shiftKey && this.current) {
      event.preventDefault();
      this.views.get(this.current).find(true);
    }
  }

  #inTerminal() {
    return Boolean(document.activeElement?.closest('.screen'));
  }

  #next() {
    const view = this.views.get(this.current);
    const stops = [
      [this.list.element, () => (this.list.body.querySelector('[aria-current]') ?? this.list.search).focus()],
      ...(view ? [[view.head, () => view.head.querySelector('button:not([hidden])')?.focus()], [view.terminal.element, () => view.terminal.focus()]] : []),
      ...(view && !view.side.hidden ? [[view.side, () => view.tabs.children[view.shown].focus()]] : []),
    ];
    const at = stops.findIndex(([element]) => element.contains(document.activeElement));
    stops[(at + 1) % stops.length][1]();
  }
}

/** Remember which operator each profile is, to tell oneself from others. */
export async function named(app) {
  for (const place of app.places) place.me ??= await operatorId(place.profile.key);
}

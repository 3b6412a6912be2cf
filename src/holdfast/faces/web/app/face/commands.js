/** Commands as cards: what was run, by whom, how it ended, its output as text that flows at any width. */

import { arrange, clean, h, icon, say, span } from './dom.js';
import { who } from './panels.js';

const OUTPUT_BYTES_MAX = 1 << 18; // of one command, asked for once it is over
const TAIL_BYTES = 1 << 14; // and each time that it has grown before
const LINES_FOLDED = 12;
const KEPT = 200;
const CREDIT = 1 << 20;
const isFullScreen = (info) => info.waiting === 'full-screen';

/** Plain text of terminal output, as far as that can be had from bytes alone: sequences left out, lines overwritten by CR. */
export function plain(bytes) {
  const text = new TextDecoder().decode(bytes)
    .replace(/\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|\x1b[P^_X][^\x1b]*\x1b\\|\x1b\[[0-?]*[ -/]*[@-~]|\x1b[ -/]*[0-~]/g, '');
  return text.split('\n').map((line) => {
    const parts = line.replace(/\r+$/, '').split('\r');
    let shown = parts.reduce((under, over) => over + under.slice(over.length), '');
    while (/[^\x08]\x08/.test(shown)) shown = shown.replace(/[^\x08]\x08/g, '');
    return shown.replace(/[\u0000-\u0008\u000b-\u001f\u007f]/g, '');
  }).join('\n').replace(/\n+$/, '');
}

export class Commands {
  constructor(view) {
    this.view = view;
    this.cards = new Map();
    this.list = h('ol.blocks', { 'aria-label': 'Commands' });
    this.said = h('p.none', {});
    this.flowing = h('pre.flow', { tabIndex: 0, 'aria-label': 'Screen as text' });
    this.element = h('.commands', {}, this.said, this.list, this.flowing);
    this.commands = new Map();
    this.prompt = null;
    this.visible = false;
  }

  /** Whether it stands in view: only then is anything followed. */
  shown(now) {
    if (now === this.visible) return;
    this.visible = now;
    if (!now) {
      this.attachment?.detach();
      this.attachment = null;
      return;
    }
    this.attachment = this.view.host.attach({ session: this.view.id, view: 'commands', observe: true, credit: CREDIT }, {
      shell: (said) => this.#shell(said),
      failed: (error) => say(this.said, error.message),
      detached: () => this.update(),
    });
    this.update();
  }

  /** Commands of a shell that tells them; without one the screen as text. */
  #shell({ full, commands, prompt }) {
    if (full) this.commands.clear();
    for (const each of commands) this.commands.set(each.id, each);
    for (const id of [...this.commands.keys()].sort((a, b) => a - b).slice(0, -KEPT)) this.commands.delete(id);
    this.prompt = prompt;
    this.attachment?.credit(64 + commands.reduce((sum, each) => sum + 128 + each.text.length, 0));
    this.update();
  }

  async update() {
    if (!this.visible || this.busy) return;
    this.busy = true;
    try {
      const told = this.commands.size > 0 || this.prompt?.marked;
      const bottom = this.element.scrollHeight - this.element.scrollTop - this.element.clientHeight < 60;
      arrange(this.list, [...this.commands.values()].sort((a, b) => a.id - b.id).map((each) => this.#card(each)));
      await this.#text(told);
      this.flowing.hidden = told && !isFullScreen(this.view.info);
      if (bottom) this.element.scrollTop = this.element.scrollHeight;
      say(this.said, told && !this.commands.size ? 'No command yet. What is run is shown here, with who ran it and how it ended.' : '');
    } catch (error) {
      say(this.said, error.message);
    } finally {
      this.busy = false;
      this.said.hidden = !this.said.textContent;
    }
  }

  async #text(told) {
    if ((told && !isFullScreen(this.view.info)) || this.textUpTo === this.view.end) return; // nothing was put out since
    this.textUpTo = this.view.end;
    const { lines } = await this.view.host.ask({ t: 'get-text', session: this.view.id, history: isFullScreen(this.view.info) ? 0 : 500 });
    say(this.flowing, lines.join('\n').trimEnd());
  }

  #card(it) {
    let card = this.cards.get(it.id);
    if (!card) {
      card = { status: h('span.status', {}), meta: h('span.does', {}), text: h('code', {}), output: h('pre', {}), more: h('button.more', { hidden: true }, 'Show all') };
      card.open = h('button.command', { 'aria-expanded': 'true', onclick: () => this.#fold(card) }, h('span.prompt', { 'aria-hidden': 'true' }, '$'), card.text, card.status);
      card.copy = h('button.icon-button', { title: 'Copy output', 'aria-label': 'Copy output', onclick: () => navigator.clipboard?.writeText(card.whole ?? '') }, icon('copy'));
      card.more.onclick = () => this.#unfold(card);
      card.element = h('li.block', {}, card.open, h('.block-meta', {}, card.meta, card.copy), card.output, card.more);
      this.cards.set(it.id, card);
    }
    say(card.text, clean(it.text || (it.source === 'unknown' ? '(a command that the shell did not tell)' : '')));
    const state = it.state === 'running' ? 'running' : it.status === 0 ? 'ok' : it.status === null ? 'unknown' : 'failed';
    card.element.dataset.state = state;
    say(card.status, it.state === 'running' ? 'running' : it.status === null ? it.state : it.status === 0 ? 'ok' : `exit ${it.status}`);
    const long = it.duration_s === null ? (it.state === 'running' ? span(Date.now() / 1000 - it.started_at) : '') : span(it.duration_s);
    say(card.meta, [it.author && (it.author === this.view.me ? 'you' : who('', it.author)), long, it.cwd && clean(it.cwd)].filter(Boolean).join(' · '));
    this.#read(card, it);
    return card.element;
  }

  /** Fetch the output of a command, once when it is over, and as it grows before. */
  async #read(card, it) {
    const upTo = it.end ?? this.view.end ?? it.start;
    if (card.reading || card.done || (card.read ?? -1) >= upTo) return;
    card.reading = true;
    try {
      const most = it.end === null ? TAIL_BYTES : OUTPUT_BYTES_MAX;
      const from = Math.max(it.start, upTo - most);
      const answer = upTo > from ? await this.view.host.ask({ t: 'read', session: this.view.id, offset: from, size: upTo - from }) : { data: new Uint8Array() };
      card.read = upTo;
      card.done = it.end !== null;
      card.whole = (from > it.start ? `… ${from - it.start} bytes before this …\n` : '') + plain(answer.data);
      this.#show(card);
    } catch {
      card.whole = ''; // asked for again when it has grown
    } finally {
      card.reading = false;
    }
  }

  #show(card) {
    const lines = (card.whole ?? '').split('\n');
    const folded = !card.unfolded && lines.length > LINES_FOLDED;
    say(card.output, (folded ? lines.slice(-LINES_FOLDED) : lines).join('\n'));
    card.output.hidden = !card.whole;
    card.more.hidden = !folded;
    say(card.more, `Show all ${lines.length} lines`);
  }

  #unfold(card) {
    card.unfolded = true;
    this.#show(card);
  }

  #fold(card) {
    const open = card.open.getAttribute('aria-expanded') !== 'true';
    card.open.setAttribute('aria-expanded', String(open));
    card.element.classList.toggle('closed', !open);
  }
}

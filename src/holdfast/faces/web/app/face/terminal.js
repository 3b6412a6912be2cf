/**
 * One session as a terminal: xterm.js at exactly the session's size, drawn as large as its place allows.
 *
 * State, not history: the host may be ahead by as much as one frame can draw (`CREDIT`) and no further; whatever it is ahead of
 * that, it sends as a fresh picture. What the terminal itself would answer to a program's questions is swallowed: the host answers, once.
 */

import { utf8 } from '../core/bytes.js';
import { Terminal } from '../vendor/xterm.mjs';
import { SearchAddon } from '../vendor/addon-search.mjs';
import { WebLinksAddon } from '../vendor/addon-web-links.mjs';
import { UnicodeGraphemesAddon } from '../vendor/addon-unicode-graphemes.mjs';
import { ask, h, size } from './dom.js';
import { keyBytes } from './keys.js';
import './strict.js';

const FONT = "ui-monospace, 'SF Mono', 'Cascadia Mono', Menlo, Consolas, 'DejaVu Sans Mono', monospace";
const FONT_SIZE = 13;
const FONT_MIN = 5;
const ZOOM_MAX = 4;

export const THEMES = {
  dark: {
    background: '#0e1116', foreground: '#d5dbe3', cursor: '#5cc4b0', cursorAccent: '#0e1116', selectionBackground: '#2f4a55',
    black: '#1c222b', red: '#e2717b', green: '#7fc08a', yellow: '#d9b36c', blue: '#77a8e8', magenta: '#c190dd', cyan: '#64bfc4', white: '#cdd4dd',
    brightBlack: '#717d8c', brightRed: '#f08a92', brightGreen: '#97d5a0', brightYellow: '#e9c885', brightBlue: '#95bff5', brightMagenta: '#d4abec', brightCyan: '#83d6da', brightWhite: '#f2f5f8',
  },
  light: {
    background: '#fcfcfa', foreground: '#22272e', cursor: '#0f766e', cursorAccent: '#fcfcfa', selectionBackground: '#c5dfe0',
    black: '#22272e', red: '#b42331', green: '#2a7137', yellow: '#855a00', blue: '#1d5fb4', magenta: '#853aa8', cyan: '#0d6c73', white: '#6a7480',
    brightBlack: '#5a6572', brightRed: '#c93a47', brightGreen: '#338444', brightYellow: '#946600', brightBlue: '#2f72ca', brightMagenta: '#994dbb', brightCyan: '#177d85', brightWhite: '#3c444d',
  },
};

/** Everything to which a terminal would answer by itself, and the host does. */
function swallowReplies(parser) {
  const yes = () => true;
  for (const id of [
    { final: 'c' }, { prefix: '>', final: 'c' }, { prefix: '=', final: 'c' }, { final: 'n' }, { prefix: '?', final: 'n' },
    { intermediates: '$', final: 'p' }, { prefix: '?', intermediates: '$', final: 'p' }, { final: 'x' }, { prefix: '>', final: 'q' }, { prefix: '?', final: 'u' },
  ]) parser.registerCsiHandler(id, yes);
  parser.registerCsiHandler({ final: 't' }, (params) => ![22, 23].includes(params[0]));
  parser.registerDcsHandler({ intermediates: '$', final: 'q' }, yes);
  parser.registerDcsHandler({ intermediates: '+', final: 'q' }, yes);
  // Every fresh picture gives the colours back. xterm.js makes all its style rules anew for that: only where they were changed.
  let changed = false;
  for (const colour of [4, 10, 11, 12]) {
    parser.registerOscHandler(colour, (data) => {
      changed ||= !data.includes('?');
      return data.includes('?');
    });
  }
  for (const back of [104, 110, 111, 112]) parser.registerOscHandler(back, () => !changed);
  parser.registerOscHandler(52, yes); // a program may not touch this device's clipboard
}

export class TerminalView {
  /**
   * @param {import('../client/host.js').Host} host @param {{id: string, size: number[]}} info
   * @param {{onnote: (text: string) => void, ontyped: (result: object) => void, onended: (said: object) => void, onevent: (event: object) => void, onpainted: () => void, scheme: string, phone: boolean}} user
   */
  constructor(host, info, user) {
    this.host = host;
    this.session = info.id;
    this.user = user;
    this.operates = user.operates;
    this.zoom = 1;
    this.taken = 0;
    this.size = info.size;
    this.stick = h('.screen-fit', {});
    this.element = h('.screen', { role: 'region', 'aria-label': `Screen of ${info.name}` }, this.stick);
    this.term = new Terminal({
      rows: info.size[0], cols: info.size[1], fontFamily: FONT, fontSize: FONT_SIZE, scrollback: 5000, allowProposedApi: true, theme: THEMES[user.scheme],
      cursorBlink: false, disableStdin: !this.operates, macOptionIsMeta: true, minimumContrastRatio: 1,
      screenReaderMode: user.reader, rightClickSelectsWord: false,
    });
    this.search = new SearchAddon();
  }

  /** Draw; the element must stand in the page. */
  open() {
    const { term } = this;
    term.open(this.stick);
    term.loadAddon(this.search);
    term.loadAddon(new UnicodeGraphemesAddon());
    term.loadAddon(new WebLinksAddon((event, uri) => this.#follow(uri)));
    swallowReplies(term.parser);
    term.textarea?.setAttribute('aria-label', 'Terminal input. F6 leaves it.');
    term.attachCustomKeyEventHandler((event) => this.#key(event));
    term.onData((data) => this.type(utf8(data)));
    term.onBinary((data) => this.type(Uint8Array.from(data, (each) => each.charCodeAt(0))));
    this.stick.addEventListener('paste', (event) => this.#paste(event), true);
    this.watch = new ResizeObserver(() => this.#moved());
    this.watch.observe(this.element);
    this.#pinch();
    this.layOut();
    this.#attach();
  }

  close() {
    this.watch?.disconnect();
    this.attachment?.detach();
    this.term.dispose();
    this.element.remove();
  }

  focus() {
    this.term.focus();
  }

  /** Type bytes; what becomes of them is told to the user. */
  async type(data) {
    if (!this.operates || !data.length) return;
    this.typedAt = performance.now();
    try {
      this.user.ontyped(await this.host.type(this.session, data, this.attachment?.number ?? 0));
    } catch (error) {
      if (error.code === 'stale-basis') this.user.onstale(); // what others typed has been seen by the time of the next key
      this.user.onnote(error.whole ?? error.message);
    }
  }

  key(name) {
    return this.type(utf8(keyBytes(name, { application: this.term.modes.applicationCursorKeysMode })));
  }

  get bracketed() {
    return this.term.modes.bracketedPasteMode;
  }

  // ---- what the host shows

  #attach() {
    this.attachment = this.host.attach({ session: this.session, view: 'terminal', observe: !this.operates }, {
      attached: (said) => this.user.onattached(said),
      keyframe: (said) => this.#keyframe(said),
      output: (said) => this.#draw(said.data, said.data.length),
      gap: (said) => this.user.onnote(`${size(said.end - said.start)} of output are not kept any more (${said.why})`),
      detached: (said) => this.user.onended(said),
      failed: (error) => this.user.onfailed(error),
    });
  }

  #keyframe({ repaint, size: [rows, cols], lost }) {
    if (rows !== this.term.rows || cols !== this.term.cols) {
      this.size = [rows, cols];
      this.term.resize(cols, rows);
      this.layOut();
    }
    if (this.own) {
      const isOurs = this.own[0] === rows && this.own[1] === cols;
      if (!isOurs && this.ours) this.own = null; // somebody else decides now
      this.ours = isOurs;
    }
    this.skipped = (this.skipped ?? 0) + lost;
    this.#draw(repaint, repaint.length);
  }

  #draw(data, counts) {
    this.term.write(data, () => {
      this.taken += counts;
      if (!this.painted) {
        this.painted = true;
        this.user.onpainted();
      }
      // Once a frame, and only while somebody looks: what is not drawn need not be sent.
      this.frame ??= requestAnimationFrame(() => {
        this.frame = null;
        this.#credit();
      });
    });
  }

  #credit() {
    if (!this.taken || this.attachment.over) return;
    this.attachment.credit(this.taken);
    this.taken = 0;
  }

  // ---- its size on this screen

  /** The rows and columns that would fill this place at the usual font size; null: not drawn yet. */
  wished() {
    const cell = this.#cell();
    if (!cell) return null;
    const { clientWidth, clientHeight } = this.element;
    const [width, height] = cell.map((each) => each * FONT_SIZE);
    return [Math.max(2, Math.floor((clientHeight - 8) / height)), Math.max(2, Math.floor((clientWidth - 16) / width))];
  }

  /** Width and height of a cell for each pixel of font size: the font's own, so measured once, while the grid is as it was drawn. */
  #cell() {
    const drawn = this.term.element?.querySelector('.xterm-screen');
    if (!this.cell && drawn?.clientWidth) {
      const now = this.term.options.fontSize;
      this.cell = [drawn.clientWidth / this.term.cols / now, drawn.clientHeight / this.term.rows / now];
    }
    return this.cell ?? null;
  }

  /** Have the session take the size of this place. It is everybody's size: only when asked. */
  async takeSize() {
    const wished = this.wished();
    if (!wished) return;
    this.own = wished; // the session follows this place until somebody else decides its size
    this.ours = false;
    if (wished[0] === this.term.rows && wished[1] === this.term.cols) return;
    try {
      await this.host.ask({ t: 'resize', session: this.session, size: wished, attachment: 0 });
    } catch (error) {
      this.own = null;
      this.user.onnote(error.whole);
    }
  }

  /** This place has another size: the session too, if it follows this place. */
  #moved() {
    this.layOut();
    if (!this.own) return;
    clearTimeout(this.moving);
    this.moving = setTimeout(() => this.own && this.takeSize(), 250);
  }

  /** Draw the session's grid as large as fits, never larger than usual; zoomed, it scrolls. */
  layOut() {
    const cell = this.#cell();
    const { clientWidth, clientHeight } = this.element;
    if (!cell || !clientWidth || !clientHeight) return;
    const now = this.term.options.fontSize;
    const wide = (clientWidth - 16) / (this.term.cols * cell[0]);
    const high = (clientHeight - 8) / (this.term.rows * cell[1]);
    const fits = this.user.phone ? wide : Math.min(wide, high);
    const size = Math.max(FONT_MIN, Math.min(FONT_SIZE, Math.floor(fits * 4) / 4)) * this.zoom;
    if (Math.abs(size - now) > 0.1) this.term.options.fontSize = size;
    this.element.classList.toggle('zoomed', this.zoom > 1);
  }

  setZoom(zoom) {
    this.zoom = Math.min(ZOOM_MAX, Math.max(1, zoom));
    this.layOut();
  }

  /** Two fingers zoom: a transform while they move, a font size once they rest. */
  #pinch() {
    let from = 0;
    let began = 1;
    const apart = ([a, b]) => Math.hypot(a.clientX - b.clientX, a.clientY - b.clientY);
    this.element.addEventListener('touchstart', (event) => {
      if (event.touches.length !== 2) return;
      from = apart(event.touches);
      began = this.zoom;
    }, { passive: true });
    this.element.addEventListener('touchmove', (event) => {
      if (!from || event.touches.length !== 2) return;
      event.preventDefault();
      this.stick.style.transform = `scale(${Math.max(1 / began, apart(event.touches) / from)})`;
      this.next = began * (apart(event.touches) / from);
    }, { passive: false });
    const done = () => {
      if (!from) return;
      from = 0;
      this.stick.style.transform = '';
      if (this.next) this.setZoom(this.next);
      this.next = 0;
    };
    this.element.addEventListener('touchend', done);
    this.element.addEventListener('touchcancel', done);
  }

  recolour(scheme) {
    this.term.options.theme = THEMES[scheme];
  }

  // ---- keyboard, clipboard, links

  /** F6 leaves the terminal, everything else is the program's, but for copying with Shift or the command key. */
  #key(event) {
    if (event.key === 'F6' && !event.shiftKey) return false;
    const copies = event.key.toLowerCase() === 'c' && ((event.ctrlKey && event.shiftKey) || event.metaKey);
    if (copies && this.term.hasSelection()) {
      if (event.type === 'keydown') navigator.clipboard?.writeText(this.term.getSelection());
      event.preventDefault();
      return false;
    }
    if ((event.ctrlKey && event.shiftKey && 'vf'.includes(event.key.toLowerCase())) || (event.metaKey && 'vf'.includes(event.key.toLowerCase()))) return false;
    return true;
  }

  /** Several lines into a program that cannot tell a paste from typing: each would be run. That is asked about first. */
  async #paste(event) {
    const text = event.clipboardData?.getData('text/plain') ?? '';
    if (!/[\r\n]./.test(text) || this.bracketed) return;
    event.preventDefault();
    event.stopPropagation();
    const lines = text.trimEnd().split(/\r?\n/).length;
    const said = await ask(`Paste ${lines} lines?`, [h('p', {}, 'The program runs each line as it arrives.'), h('pre.preview', {}, text.slice(0, 2000))], { yes: 'Paste' });
    if (said) this.type(utf8(text.replace(/\r?\n/g, '\r')));
    this.focus();
  }

  async #follow(uri) {
    const said = await ask('Open this address?', [h('p.address', {}, uri)], { yes: 'Open' });
    if (said && /^https?:/.test(uri)) window.open(uri, '_blank', 'noopener,noreferrer');
  }

  /** What stands on the screen, as text. */
  text() {
    const { buffer, rows } = this.term;
    const lines = Array.from({ length: rows }, (_, row) => buffer.active.getLine(buffer.active.baseY + row)?.translateToString(true) ?? '');
    return lines.join('\n');
  }
}


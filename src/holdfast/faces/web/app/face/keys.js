/** What keys of the key bar type, and how text from the compose bar is typed. Source: xterm's control sequences (ctlseqs). */

export const KEYS = {
  Esc: '\x1b', Tab: '\t', Enter: '\r', Home: '\x1b[H', End: '\x1b[F', PgUp: '\x1b[5~', PgDn: '\x1b[6~', Up: '\x1b[A', Down: '\x1b[B', Right: '\x1b[C', Left: '\x1b[D',
};

/** The bytes of a key, given how the program set its cursor keys. */
export function keyBytes(name, { application = false } = {}) {
  const found = KEYS[name] ?? name;
  return application && /^\x1b\[[A-DHF]$/.test(found) ? found.replace('[', 'O') : found;
}

/** A letter with Ctrl held: ^C of c. Text that no Ctrl goes with stays as it is. */
export function withCtrl(text) {
  const code = text.toUpperCase().charCodeAt(0);
  return text.length === 1 && code >= 0x3f && code <= 0x5f ? String.fromCharCode(code === 0x3f ? 0x7f : code & 0x1f) : text;
}

/** Text as one paste, and Enter after it: one input, so nobody else's keys get in between. */
export function submission(text, { bracketed = false, enter = true } = {}) {
  const body = text.replace(/\r?\n/g, '\r');
  const inner = bracketed && body.includes('\r') ? `\x1b[200~${body.replaceAll('\x1b', '')}\x1b[201~` : body;
  return enter ? `${inner}\r` : inner;
}

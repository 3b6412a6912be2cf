/** Make elements, say times and sizes for people. No markup is ever parsed from text. */

/**
 * Make an element: `h('button.primary', {onclick, 'aria-label': '…'}, 'Text', child)`. Properties with a dash, and those
 * that elements do not have, become attributes; null children are left out.
 */
export function h(what, properties = {}, ...children) {
  const [name, ...classes] = what.split('.');
  const it = document.createElement(name || 'div');
  if (classes.length) it.className = classes.join(' ');
  for (const [key, value] of Object.entries(properties)) {
    if (value === undefined || value === null) continue;
    if (key in it && !key.includes('-')) it[key] = value;
    else it.setAttribute(key, value);
  }
  it.append(...children.flat().filter((each) => each !== null && each !== undefined && each !== false));
  return it;
}

const SVG = 'http://www.w3.org/2000/svg';
// Drawn for this client, on a grid of 16.
const ICONS = {
  plus: 'M8 3v10M3 8h10', close: 'M4 4l8 8M12 4l-8 8', back: 'M10 3L5 8l5 5', more: 'M3 8h.01M8 8h.01M13 8h.01', search: 'M7 2.5a4.5 4.5 0 100 9 4.5 4.5 0 000-9zM10.5 10.5L14 14',
  panel: 'M2.5 3h11v10h-11zM10 3v10', fit: 'M3 6V3h3M13 6V3h-3M3 10v3h3M13 10v3h-3', send: 'M3 8h9M8.5 4L13 8l-4.5 4', list: 'M5 4h8M5 8h8M5 12h8M2.5 4h.01M2.5 8h.01M2.5 12h.01',
  hand: 'M5.5 8V4a1 1 0 012 0v3M7.5 7V3a1 1 0 012 0v4M9.5 7V4a1 1 0 012 0v5.5a4 4 0 01-4 4c-2 0-3-1-4.2-3.4a1 1 0 011.7-1L5.5 10.5V8', down: 'M4 6l4 4 4-4', copy: 'M5.5 5.5V3h7.5v7.5h-2.5M3 5.5h7.5V13H3z',
};
/** A drawing that says nothing by itself: what it stands on carries the label. */
export function icon(name) {
  const svg = document.createElementNS(SVG, 'svg');
  for (const [key, value] of Object.entries({ viewBox: '0 0 16 16', width: 16, height: 16, 'aria-hidden': 'true', class: 'icon' })) svg.setAttribute(key, value);
  const path = document.createElementNS(SVG, 'path');
  path.setAttribute('d', ICONS[name]);
  svg.append(path);
  return svg;
}

/** Set the text of an element if it is another. */
export function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** Make the children of `parent` these, touching only what differs, so that focus and selection stay. */
export function arrange(parent, children) {
  const wanted = children.filter(Boolean);
  wanted.forEach((child, at) => {
    if (parent.children[at] !== child) parent.insertBefore(child, parent.children[at] ?? null);
  });
  while (parent.children.length > wanted.length) parent.lastElementChild.remove();
}

/** A length of time: 0.4 s, 12 s, 3 min, 5 h, 2 d. @param {number} seconds */
export function span(seconds) {
  if (!Number.isFinite(seconds)) return 'never';
  if (seconds < 1) return `${Math.max(0, seconds).toFixed(1)} s`;
  if (seconds < 90) return `${Math.round(seconds)} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  if (seconds < 129600) return `${Math.round(seconds / 3600)} h`;
  return `${Math.round(seconds / 86400)} d`;
}

/** A number of bytes: 512 B, 14 KiB, 3.2 MiB. */
export function size(bytes) {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  let value = bytes;
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return `${unit && value < 10 ? value.toFixed(1) : Math.round(value)} ${units[unit]}`;
}

/** Text without characters that could pose as something else: control, bidirectional and invisible ones. */
export const clean = (text) => String(text).replace(/[\u0000-\u001f\u007f-\u009f\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff]/g, '\ufffd');

/** A dialogue that gives what `form` returns when it is sent, null when it is left. */
export function ask(title, body, { yes = 'OK', no = 'Cancel', danger = false } = {}) {
  const said = h('form', { method: 'dialog' }, h('h2', { id: 'ask-title' }, title), ...body,
    h('.buttons', {},
      no ? h('button', { type: 'button', onclick: () => box.close('') }, no) : null,
      h(danger ? 'button.danger' : 'button.primary', { type: 'submit', value: 'yes' }, yes)));
  const box = h('dialog', { 'aria-labelledby': 'ask-title' }, said);
  document.body.append(box);
  box.showModal();
  return new Promise((resolve) => {
    box.addEventListener('close', () => {
      const sent = box.returnValue === 'yes';
      const values = Object.fromEntries(new FormData(said));
      box.remove();
      resolve(sent ? values : null);
    });
  });
}

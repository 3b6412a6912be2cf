/** Say how a host stands: never that a socket is open, but when it was last heard. */

import { span } from './dom.js';

const FRESH_S = 6; // a sign of life comes every 3 s

/** @returns {{state: 'up'|'late'|'down'|'refused'|'opening', text: string}} */
export function standing(host, name) {
  if (host.refusal) return { state: 'refused', text: `${name}: ${host.refusal.whole}` };
  const { age } = host;
  if (host.up && age < FRESH_S) {
    const rtt = host.bridge.rtt;
    return { state: 'up', text: `${name} · heard ${age < 1.5 ? 'just now' : `${span(age)} ago`}${rtt ? ` · ${Math.max(1, Math.round(rtt * 1000))} ms` : ''}` };
  }
  if (!Number.isFinite(age)) {
    const why = host.trouble ? ` (${host.trouble.message})` : '';
    return { state: host.trouble ? 'down' : 'opening', text: `${name}: not reached yet${why}` };
  }
  const offline = navigator.onLine ? '' : ' This device is offline.';
  return { state: age < FRESH_S ? 'late' : 'down', text: `${name}: last heard ${span(age)} ago. What runs there goes on.${offline}` };
}

/** How far a client has followed a session, in one line of text. Source: core/cursor.py. */

/** @param {string} line */
export function parseCursor(line) {
  const found = /^c1:(s-[a-z2-7]{26}):(\d{1,19}):(\d{1,19}):(\d{1,19}):([0-9a-f]{64})$/.exec(line);
  if (!found) return null;
  return { session: found[1], incarnation: Number(found[2]), offset: Number(found[3]), position: Number(found[4]), head: found[5] };
}

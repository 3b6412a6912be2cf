/** Become a member with a join code, or a guest with a share link. Mirrors client/joining.py and `enter` of client/sharing.py. */

import { HoldError } from '../core/errors.js';
import { parseJoinCode, parseShare } from '../core/invitations.js';
import { KeyPair } from '../core/signed.js';
import { Initiator, freshPair, prologue } from '../wire/channel.js';
import { Joiner } from '../wire/joining.js';
import { Line } from './line.js';
import { unixNow } from './meeting.js';
import { Profile } from './profile.js';

const ANSWER_S = 30;
const COMPARE_S = 115; // once the host has spoken: a person may have to compare a number there
const SLOW_S = 1.5; // without an answer a person is being asked
const ELSEWHERE = new Set(['host-unreachable', 'no-such-host', 'relay-unreachable']);

/** The relays of an invitation, the one that this page came from first: it is the one that surely can be dialled from here. */
export function relaysFrom(relays, origin) {
  if (!/^https?:/.test(origin)) return [...relays];
  const own = origin.replace(/^http/, 'ws');
  return [...new Set([own, ...relays])];
}

/**
 * Join with a code; the key is made here and never leaves this browser. Throws HoldError.
 * `onnumber` hears the number that a person at the host may have to compare, if the answer does not come at once.
 * @param {string} code @param {import('./profile.js').Keys} store
 */
export async function join(code, store, { name = '', origin = '', onnumber = () => {} } = {}) {
  const it = await parseJoinCode(code, unixNow());
  if (it.machine) throw new HoldError('refused', 'this code is for a machine, not for a browser; it is still good', 'run `hold join` with it there');
  const relays = relaysFrom(it.relays, origin);
  const pair = await KeyPair.made();
  const { answer, host } = await asked({ ...it, relays }, pair, name, onnumber);
  return Profile.made({
    pair, tenant: it.tenant, certificates: answer.certificates, grants: answer.grants,
    relays: [...new Set([...relays, ...answer.relays])], host: it.host, names: answer.names, until: answer.until,
    called: answer.name || host,
  }, store, unixNow());
}

/** Enter with a share link, from what follows its #: whoever has the link is the guest. Throws HoldError. */
export async function enter(fragment, store, { origin = '' } = {}) {
  const it = await parseShare(fragment);
  return Profile.made({
    pair: it.pair, tenant: it.tenant, certificates: it.certificates, grants: [it.grant], relays: relaysFrom(it.relays, origin),
    host: it.host, session: it.session, called: 'guest',
  }, store, unixNow());
}

async function asked(code, pair, name, onnumber) {
  const errors = [];
  for (const url of code.relays) {
    let line;
    try {
      line = await Line.dial(url, 'join');
      return await over(line, code, pair, name, onnumber);
    } catch (error) {
      if (!ELSEWHERE.has(error.code)) throw error; // the host itself spoke
      errors.push(error);
    } finally {
      line?.end();
    }
  }
  if (errors.some((each) => each.code === 'no-such-host')) { // what a relay says of a host that expects nobody
    throw new HoldError('refused', 'the host of this code expects nobody there now: the code was used or taken back, or the host is away',
      'ask for a new code, or try again when that machine is up');
  }
  throw errors[0];
}

async function over(line, code, pair, name, onnumber) {
  const initiator = await Initiator.begun({
    staticPair: await freshPair(), remoteStatic: code.channel, prologue: prologue(code.host), ephemeral: await freshPair(),
  });
  const joiner = new Joiner(initiator, { secret: code.secret, pair, name });
  const route = line.open(code.host);
  return new Promise((resolve, reject) => {
    const late = new HoldError('timeout', 'the host did not answer in time; whether the code was used up is not known', 'try it once more');
    let timer = setTimeout(() => reject(late), ANSWER_S * 1000);
    let slow = null;
    const settle = (act) => (value) => {
      clearTimeout(timer);
      clearTimeout(slow);
      act(value);
    };
    const fail = settle(reject);
    let hearing = Promise.resolve();
    route.heard = (payload) => {
      hearing = hearing.then(async () => {
        for (const each of await joiner.receive(payload)) route.carry(each);
        if (joiner.accepted && !slow) {
          clearTimeout(timer);
          timer = setTimeout(() => reject(late), COMPARE_S * 1000);
          slow = setTimeout(() => onnumber(joiner.number), SLOW_S * 1000);
        }
        if (joiner.answer) settle(resolve)({ answer: joiner.answer, host: joiner.accepted });
      }).catch(fail);
    };
    const hungUp = new HoldError('host-unreachable', 'the host hung up before it answered', 'try it once more');
    route.over.then(() => hearing.then(() => fail(hungUp)), fail);
    route.carry(joiner.first());
  });
}

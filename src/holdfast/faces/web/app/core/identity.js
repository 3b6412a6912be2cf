/**
 * Who somebody is: certificates under a tenant's root key, what hosts say of themselves, what was revoked. Mirrors
 * core/identity.py, the checking half. `now` and validity are Unix seconds. Source: docs/identity.md.
 */

import { compare, equal, hex } from './bytes.js';
import { HoldError } from './errors.js';
import * as signed from './signed.js';

export const FIELDS = {
  certificate: ['format', 'tenant', 'kind', 'key', 'name', 'onBehalfOf', 'notBefore', 'notAfter', 'serial', 'issuer'],
  revocations: ['format', 'tenant', 'signer', 'version', 'at', 'keys', 'serials'],
  record: ['format', 'tenant', 'host', 'channel', 'version', 'notBefore', 'notAfter', 'name', 'relays'],
};
const DAY_S = 86400;
const CHAIN_MAX = 3;
const CERTIFICATE_BYTES_MAX = 1024;
const RECORD_BYTES_MAX = 4096;
const REVOCATIONS_BYTES_MAX = 256 * 1024;
const REVOKED_MAX = 4096;
const NAME_BYTES_MAX = 256;
const RECORD_S_MAX = 30 * DAY_S;
const VOUCHED_S_MAX = DAY_S;

// Kind -> who may sign one ('' is the root itself), its longest life, whether it says on whose behalf it acts.
export const TERMS = {
  issuer: { signers: [''], lifeMax: 90 * DAY_S, principal: 'never' },
  host: { signers: ['issuer'], lifeMax: 30 * DAY_S, principal: 'never' },
  human: { signers: ['issuer'], lifeMax: 30 * DAY_S, principal: 'never' },
  ai: { signers: ['issuer', 'human'], lifeMax: 30 * DAY_S, principal: 'must' },
  device: { signers: ['issuer', 'human'], lifeMax: 30 * DAY_S, principal: 'may' },
  service: { signers: ['issuer'], lifeMax: 30 * DAY_S, principal: 'may' },
  guest: { signers: ['issuer', 'human'], lifeMax: 30 * DAY_S, principal: 'never' },
};

const badCertificate = (reason) =>
  new HoldError('bad-certificate', `a certificate was refused (${reason})`, 'ask for a new join code', { reason });
const expired = (what) => new HoldError('expired', `the ${what} has expired; nothing was done with it`, 'ask for a new join code');
const badRecord = (what, reason) =>
  new HoldError('bad-record', `the ${what} was refused (${reason}); what was known before still holds`,
    'if it goes on, whoever passes it along alters it: use another relay', { what, reason });
const rolledBack = (what) =>
  new HoldError('rolled-back', `the ${what} is older than one seen before; it was not used`, 'use another relay; this one shows the past');

export function isRelayUrl(url) {
  const [scheme, rest] = url.split('://', 2);
  return (scheme === 'ws' || scheme === 'wss') && rest !== undefined && url.length <= 255 && /^[!-~]+$/.test(url)
    && !/[@?#\\"<>]/.test(rest) && rest.split('/')[0].replace(/^:+|:+$/g, '') !== '';
}

/** What is revoked, by everybody who may say so. Values are hexadecimal keys and serials. */
export class Revocations {
  constructor() {
    this.issuers = new Set();
    this.members = new Set();
  }

  names(it) {
    const reach = it.kind === 'issuer' ? this.issuers : this.members;
    return [it.key, it.serial, it.onBehalfOf].some((each) => reach.has(hex(each)));
  }
}

/** Return the certificates that `chain` proves under the root key `tenant`, the issuer's first. Throws HoldError. */
export async function verify(chain, { tenant, now, revoked = new Revocations() }) {
  if (chain.length < 2 || chain.length > CHAIN_MAX) throw badCertificate('chain');
  return descended(chain, tenant, now, revoked);
}

/** What a chain says without proving it. */
export function read(chain) {
  try {
    return chain.map((data) => signed.peeked(data, FIELDS.certificate, CERTIFICATE_BYTES_MAX));
  } catch (error) {
    throw badCertificate(error.reason ?? 'malformed');
  }
}

async function descended(chain, tenant, now, revoked) {
  const found = [];
  for (const data of chain) {
    const over = found.at(-1) ?? null;
    let it;
    try {
      it = await signed.opened(data, FIELDS.certificate, {
        key: over ? over.key : tenant, domain: signed.CERTIFICATE, most: CERTIFICATE_BYTES_MAX, ssh: over?.kind === 'human',
      });
    } catch (error) {
      throw badCertificate(error.reason ?? 'malformed');
    }
    const fault = faultOf(it, over, tenant);
    if (fault) throw badCertificate(fault);
    if (now < it.notBefore) throw badCertificate('not-yet-valid');
    if (now >= it.notAfter) throw expired(`certificate of this ${it.kind}`);
    if (revoked.names(it)) throw new HoldError('revoked', `the certificate of this ${it.kind} was revoked by its tenant`, 'ask the tenant for a new one');
    found.push(it);
  }
  return found;
}

function faultOf(it, over, tenant) {
  const terms = Object.hasOwn(TERMS, it.kind) ? TERMS[it.kind] : null;
  if (!terms) return 'malformed';
  const bytes = [it.tenant, it.key, it.name, it.onBehalfOf, it.serial, it.issuer];
  if (!bytes.every((each) => each instanceof Uint8Array)) return 'malformed';
  const above = over ? [tenant, over.key, over.issuer] : [tenant];
  const vouched = over !== null && over.kind !== 'issuer';
  const lifeMax = vouched ? Math.min(terms.lifeMax, VOUCHED_S_MAX) : terms.lifeMax;
  const checks = [
    ['format', it.format === 1],
    ['malformed', it.serial.length === signed.SERIAL_BYTES && it.name.length <= NAME_BYTES_MAX],
    ['tenant', equal(it.tenant, tenant)],
    ['issuer', equal(it.issuer, over ? over.key : tenant)],
    ['kind', terms.signers.includes(over ? over.kind : '')],
    ['key', signed.isKey(it.key) && !above.some((each) => equal(each, it.key))],
    ['principal', principalIsRight(it, terms, vouched)],
    ['validity', signed.isSpan(it.notBefore, it.notAfter)],
    ['life', it.notAfter - it.notBefore <= lifeMax],
    ['outlives', over === null || (over.notBefore <= it.notBefore && it.notAfter <= over.notAfter)],
  ];
  return checks.find(([, good]) => !good)?.[0] ?? null;
}

function principalIsRight(it, terms, vouched) {
  if (vouched && terms.principal !== 'never') return equal(it.onBehalfOf, it.issuer);
  if (!it.onBehalfOf.length) return terms.principal !== 'must';
  return terms.principal !== 'never' && signed.isKey(it.onBehalfOf) && !equal(it.onBehalfOf, it.key);
}

/** Return a host's record, if the certificates `chain` are that host's. `seen`: the highest version met before. */
export async function verifyHostRecord(data, chain, { host, tenant, now, seen = 0, revoked = new Revocations() }) {
  const member = (await verify(chain, { tenant, now, revoked })).at(-1);
  if (member.kind !== 'host') throw badCertificate('kind');
  if (!equal(member.key, host)) throw badCertificate('key');
  let record;
  try {
    record = await signed.opened(data, FIELDS.record, { key: host, domain: signed.HOST_RECORD, most: RECORD_BYTES_MAX });
  } catch (error) {
    throw badRecord('host record', error.reason ?? 'malformed');
  }
  const fault = recordFault(record)
    ?? (equal(record.tenant, tenant) ? null : 'tenant') ?? (equal(record.host, host) ? null : 'host');
  if (fault) throw badRecord('host record', fault);
  if (now < record.notBefore) throw badRecord('host record', 'not-yet-valid');
  if (now >= record.notAfter) throw expired('host record');
  if (record.version < seen) throw rolledBack('host record');
  return record;
}

function recordFault(it) {
  const checks = [
    ['format', it.format === 1],
    ['malformed', it.version >= 1 && it.name instanceof Uint8Array && it.name.length <= NAME_BYTES_MAX],
    ['key', it.channel instanceof Uint8Array && it.channel.length === 32 && it.channel.some(Boolean)],
    ['validity', signed.isSpan(it.notBefore, it.notAfter)],
    ['life', it.notAfter - it.notBefore <= RECORD_S_MAX],
    ['relays', Array.isArray(it.relays) && it.relays.length <= 8 && it.relays.every(isRelayUrl)],
  ];
  return checks.find(([, good]) => !good)?.[0] ?? null;
}

/** Return a revocation list, signed by the root or by the issuer whose certificate `issuer` is. Throws HoldError. */
export async function verifyRevocations(data, { issuer = new Uint8Array(), tenant, now, seen = 0, revoked = new Revocations() }) {
  const over = issuer.length ? (await descended([issuer], tenant, now, revoked))[0] : null;
  const key = over ? over.key : tenant;
  let found;
  try {
    found = await signed.opened(data, FIELDS.revocations, { key, domain: signed.REVOCATIONS, most: REVOCATIONS_BYTES_MAX });
  } catch (error) {
    throw badRecord('revocation list', error.reason ?? 'malformed');
  }
  const tidy = (values, size) => Array.isArray(values)
    && values.every((each, at) => each.length === size && (at === 0 || compare(values[at - 1], each) < 0));
  const checks = [
    ['format', found.format === 1],
    ['malformed', found.version >= 1 && found.at >= 0 && found.at <= signed.TIME_MAX],
    ['malformed', tidy(found.keys, signed.KEY_BYTES) && tidy(found.serials, signed.SERIAL_BYTES)],
    ['too-many', found.keys.length + found.serials.length <= REVOKED_MAX],
    ['tenant', equal(found.tenant, tenant) && !found.keys.some((each) => equal(each, tenant))],
    ['signer', equal(found.signer, key)],
    ['outlives', !over || (over.notBefore <= found.at && found.at < over.notAfter)],
  ];
  const fault = checks.find(([, good]) => !good);
  if (fault) throw badRecord('revocation list', fault[0]);
  if (found.version < seen) throw rolledBack('revocation list');
  return found;
}

/** When a list says it was signed, unproven: a kept one is verified again at that time. */
export const revokedAt = (data) => signed.peeked(data, FIELDS.revocations, REVOCATIONS_BYTES_MAX).at;

/** What verified lists revoke together. */
export function merged(lists) {
  const found = new Revocations();
  for (const each of lists) {
    const values = [...each.keys, ...each.serials].map(hex);
    values.forEach((value) => found.members.add(value));
    if (equal(each.signer, each.tenant)) values.forEach((value) => found.issuers.add(value));
    else if (each.keys.some((key) => equal(key, each.signer))) found.issuers.add(hex(each.signer));
  }
  return found;
}

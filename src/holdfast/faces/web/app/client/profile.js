/**
 * Who this browser is in one tenant: its key, certificates and grants, and what it has verified of hosts. Mirrors the part of
 * client/credentials.py that a member needs. Where profiles lie is the store's business (`Keys` below, memory in tests).
 */

import { equal, hex } from '../core/bytes.js';
import { HoldError } from '../core/errors.js';
import * as grants from '../core/grants.js';
import * as identity from '../core/identity.js';
import { openName } from '../core/sealing.js';
import { KeyPair } from '../core/signed.js';

const HOSTS_MAX = 1024;

export class Profile {
  /** @param {object} kept what a store holds; see `made` */
  constructor(kept, store) {
    Object.assign(this, kept);
    this.store = store;
    this.pair = new KeyPair(kept.secret, kept.key);
    this.revoked = new identity.Revocations();
  }

  /** A new profile, checked and kept. Throws what certificates are refused with. */
  static async made({ pair, tenant, certificates, grants: chains, relays, host, names = {}, until = 0, called = '', session = '' }, store, now) {
    const member = (await identity.verify(certificates, { tenant, now })).at(-1);
    if (!equal(member.key, pair.key)) throw new HoldError('bad-certificate', 'the certificates are for another key; nothing was kept', 'ask for a new join code');
    const kept = {
      id: hex(pair.key), secret: pair.secret, key: pair.key, tenant, certificates, grants: chains, relays, host, names, until, called,
      session, kind: member.kind, hosts: [], lists: [],
    };
    const profile = new Profile(kept, store);
    await profile.save();
    return profile;
  }

  async save() {
    const { store, pair, revoked, ...kept } = this;
    await store.put(kept);
  }

  /** Verify again what was kept, so that what is revoked is not believed. */
  async begun() {
    await this.judge();
    return this;
  }

  get certificate() {
    return identity.read(this.certificates).at(-1);
  }

  /** What this operator may do with a session; null: with all. For showing, the host decides. */
  may(session, now) {
    return grants.reach(this.grants, session, now);
  }

  living(now) {
    return this.grants.filter((chain) => grants.read(chain).notAfter > now);
  }

  /** Whether newer certificates should be asked for: a third of their life is over. Guests are never renewed. */
  due(now) {
    const it = this.certificate;
    return this.kind !== 'guest' && now > it.notBefore + (it.notAfter - it.notBefore) / 3;
  }

  /** Keep what a host answered to `renew`. Throws what certificates are refused with. */
  async renewed(joined, now) {
    const member = (await identity.verify(joined.certificates, { tenant: this.tenant, now, revoked: this.revoked })).at(-1);
    if (!equal(member.key, this.key)) return;
    this.certificates = joined.certificates;
    this.grants = joined.grants;
    this.names = { ...this.names, ...joined.names };
    this.relays = [...new Set([...this.relays, ...joined.relays])];
    this.until = joined.until;
    await this.save();
  }

  // ---- hosts

  record(host) {
    return this.hosts.find((each) => equal(each.key, host)) ?? null;
  }

  /** The verified record of a host, null if what is kept does not hold (any more). */
  async recordOf(host, now) {
    const known = this.record(host);
    if (!known) return null;
    try {
      return await identity.verifyHostRecord(known.record, known.chain, { host, tenant: this.tenant, now, revoked: this.revoked });
    } catch {
      return null;
    }
  }

  /** Keep what a relay shows of a host, if it is genuine and no older than what is known. Returns its name; throws HoldError. */
  async learn({ host, record, chain }, now) {
    const known = this.record(host);
    const found = await identity.verifyHostRecord(record, chain, {
      host, tenant: this.tenant, now, seen: known?.version ?? 0, revoked: this.revoked,
    });
    const name = (await openName(found.name, this.names, host)) || known?.name || ''; // a key that comes with the next renewal
    if (!known && this.hosts.length >= HOSTS_MAX) return name;
    if (!known || known.version !== found.version || !equal(known.record, record) || known.name !== name) {
      this.hosts = [...this.hosts.filter((each) => each !== known), { key: host, version: found.version, record, chain, name }];
      await this.save();
    }
    return name;
  }

  // ---- revocation

  async learnRevocations(revocations, issuer, now) {
    const signer = issuer.length ? identity.read([issuer])[0].key : this.tenant;
    const known = this.lists.find((each) => equal(each.signer, signer));
    const found = await identity.verifyRevocations(revocations, {
      issuer, tenant: this.tenant, now, seen: known?.version ?? 0, revoked: this.revoked,
    });
    if (known?.version === found.version) return;
    this.lists = [...this.lists.filter((each) => each !== known), { signer, version: found.version, issuer, revocations }];
    await this.judge();
    await this.save();
  }

  /** A kept list holds for good, also after its signer expired: it is judged at its own time. */
  async judge() {
    const lists = [];
    for (const { issuer, revocations } of this.lists) {
      lists.push(await identity.verifyRevocations(revocations, { issuer, tenant: this.tenant, now: identity.revokedAt(revocations) }));
    }
    this.revoked = identity.merged(lists);
  }
}

/** Profiles in memory, for programs that keep nothing. */
export class Memory {
  constructor() {
    this.kept = new Map();
  }

  async all() {
    return [...this.kept.values()];
  }

  async put(kept) {
    this.kept.set(kept.id, kept);
  }

  async remove(id) {
    this.kept.delete(id);
  }
}

/** Profiles in this browser's own store. The keys in it can be used there, and not be read, by this origin's pages alone. */
export class Keys {
  #opened = null;

  #database() {
    this.#opened ??= new Promise((resolve, reject) => {
      const request = indexedDB.open('holdfast', 1);
      request.onupgradeneeded = () => request.result.createObjectStore('profiles', { keyPath: 'id' });
      request.onsuccess = () => resolve(request.result);
      request.onerror = () => reject(new HoldError('storage-failed', 'this browser does not keep keys for this page', 'leave private browsing, or allow this page to store data'));
    });
    return this.#opened;
  }

  async #run(mode, act) {
    const store = (await this.#database()).transaction('profiles', mode, { durability: 'strict' }).objectStore('profiles');
    return new Promise((resolve, reject) => {
      const request = act(store);
      request.onsuccess = () => resolve(request.result);
      request.onerror = () => reject(request.error);
    });
  }

  all() {
    return this.#run('readonly', (store) => store.getAll());
  }

  put(kept) {
    return this.#run('readwrite', (store) => store.put(kept));
  }

  remove(id) {
    return this.#run('readwrite', (store) => store.delete(id));
  }
}

// Run by core.py: one line of JSON in, one out. Everything of the client but its faces, which need a page.
import { readdirSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { pathToFileURL } from 'node:url';

const app = `${process.argv[2]}/`;
const m = {};
for (const layer of ['core', 'wire', 'client']) {
  for (const file of readdirSync(app + layer)) m[`${layer}/${file.replace(/\.js$/, '')}`] = await import(pathToFileURL(`${app}${layer}/${file}`));
}
for (const file of ['keys', 'panels', 'watching']) m[`face/${file}`] = await import(pathToFileURL(`${app}face/${file}.js`));

function inward(value) {
  if (Array.isArray(value)) return value.map(inward);
  if (value && typeof value === 'object') {
    if ('$b' in value) return new Uint8Array(Buffer.from(value.$b, 'base64'));
    if ('$n' in value) return BigInt(value.$n);
    const pairs = value.$m.map(([key, each]) => [inward(key), inward(each)]);
    return pairs.every(([key]) => typeof key === 'string') ? Object.fromEntries(pairs) : new Map(pairs);
  }
  return value;
}

function outward(value) {
  if (value instanceof Uint8Array) return { $b: Buffer.from(value).toString('base64') };
  if (typeof value === 'bigint') return { $n: String(value) };
  if (Array.isArray(value)) return value.map(outward);
  if (value instanceof Map) return outward(Object.fromEntries(value));
  if (value && typeof value === 'object') return Object.fromEntries(Object.entries(value).map(([key, each]) => [key, outward(each)]));
  return value ?? null;
}

/** An X25519 or Ed25519 pair out of 32 bytes, so that tests are the same each time. */
m.pairOf = async (name, seed) => {
  const last = name === 'X25519' ? 0x6e : 0x70;
  const wrapped = new Uint8Array([0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, last, 4, 0x22, 4, 0x20, ...seed]);
  const usages = name === 'X25519' ? ['deriveBits'] : ['sign'];
  const secret = await crypto.subtle.importKey('pkcs8', wrapped, { name }, true, usages);
  const { x } = await crypto.subtle.exportKey('jwk', secret);
  return { secret, key: new Uint8Array(Buffer.from(x, 'base64url')) };
};

const AsyncFunction = (async () => {}).constructor;
const kept = {};
for await (const line of createInterface({ input: process.stdin })) {
  const { body, arguments: a } = JSON.parse(line);
  let said;
  try {
    said = { value: outward(await new AsyncFunction('m', 'a', 'kept', body)(m, inward(a), kept)) };
  } catch (error) {
    said = { failed: { message: error.message, code: error.code ?? '', details: outward(error.details ?? {}), stack: error.stack } };
  }
  process.stdout.write(`${JSON.stringify(said)}\n`);
}
process.exit(0);

// Verifies captured deliveries. Reads {"publicKey", "samples": [{"profile", "secret",
// "type", "request": {"method", "url", "headers", "body"}}]} from standard input, body
// in base64, and prints [{"library", "profile", "error"}]: an empty error is a request
// that was accepted as it is and refused with another body.
import { createHash, createHmac, createPublicKey, timingSafeEqual, verify as verifyKey } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { verify as verifyGitHub, verifyWithFallback } from '@octokit/webhooks-methods';
import { HTTP } from 'cloudevents';
import { createVerifier, httpbis } from 'http-message-signatures';
import { Webhook } from 'standardwebhooks';

const { samples, publicKey } = JSON.parse(readFileSync(0, 'utf8'));
const ed25519 = createPublicKey({ key: { kty: 'OKP', crv: 'Ed25519', x: Buffer.from(publicKey, 'base64').toString('base64url') }, format: 'jwk' });

const refuse = (reason) => { throw new Error(reason); };
const hmac = (secret, body) => createHmac('sha256', secret).update(body).digest();
const same = (a, b) => a.length === b.length && timingSafeEqual(a, b);
const isStandard = (s) => ['standard', 'cloudevents', 'cloudevents-binary', 'http-signature'].includes(s.profile);
const rawKey = (secret) => Buffer.from(secret.replace('whsec_', ''), 'base64');

// Each is [library, which samples, how to verify {headers, body, …}].
const receivers = [
  ['standardwebhooks', (s) => isStandard(s) && s.secret.startsWith('whsec_'), ({ secret, headers, body }) => {
    new Webhook(secret).verify(body.toString('utf8'), headers);
  }],
  ['node:crypto', (s) => isStandard(s) && s.secret.startsWith('whsk_'), ({ headers, body }) => {
    const text = Buffer.concat([Buffer.from(`${headers['webhook-id']}.${headers['webhook-timestamp']}.`), body]);
    headers['webhook-signature'].split(' ').some((entry) => entry.startsWith('v1a,')
      && verifyKey(null, text, ed25519, Buffer.from(entry.slice(4), 'base64'))) || refuse('no v1a signature matches');
  }],
  ['cloudevents', (s) => s.profile.startsWith('cloudevents') || s.profile === 'http-signature', ({ type, headers, body, tampered }) => {
    const event = HTTP.toEvent({ headers, body: body.toString('utf8') });
    event.type === type && event.source === '/interop' && event.data !== undefined || refuse(`another event: ${event.type}`);
    !tampered || refuse('reads only');
  }],
  ['@octokit/webhooks-methods', (s) => s.profile === 'github', async ({ secret, headers, body }) => {
    const [text, signature] = [body.toString('utf8'), headers['x-hub-signature-256']];
    await verifyGitHub(secret, text, signature) || refuse('no match');
    await verifyWithFallback('another', text, signature, [secret]) || refuse('no match while rotating');
  }],
  ['node:crypto', (s) => s.profile === 'jfrog', ({ secret, headers, body }) => {
    same(Buffer.from(headers['x-jfrog-event-auth'], 'hex'), hmac(secret, body)) || refuse('no match');
  }],
  ['node:crypto', (s) => s.profile === 'secure-source-manager', ({ secret, headers, body }) => {
    same(Buffer.from(headers['x-securesourcemanager-signature'], 'hex'), hmac(secret, body)) || refuse('no match');
  }],
  ['http-message-signatures', (s) => s.profile === 'http-signature', async ({ secret, method, url, headers, body }) => {
    const digest = createHash('sha256').update(body).digest('base64');
    headers['content-digest'] === `sha-256=:${digest}:` || refuse('another digest');
    const algorithm = secret.startsWith('whsec_') ? 'hmac-sha256' : 'ed25519';
    const verify = algorithm === 'ed25519' ? createVerifier(ed25519, algorithm) : createVerifier(rawKey(secret), algorithm);
    const accepted = await httpbis.verifyMessage({
      keyLookup: async ({ keyid }) => ({ id: keyid, algs: [algorithm], verify }),
      requiredFields: ['@method', '@authority', '@path', 'content-type', 'content-digest', 'webhook-id', 'webhook-timestamp'],
      requiredParams: ['created', 'keyid', 'alg'], maxAge: 300, tolerance: 5,
    }, { method, url, headers });
    accepted === true || refuse(`verified: ${accepted}`);
  }],
];

const results = [];
for (const sample of samples) {
  const { method, url, headers: lists, body } = sample.request;
  const headers = Object.fromEntries(Object.entries(lists).map(([name, values]) => [name.toLowerCase(), values.join(', ')]));
  for (const [library, wants, verify] of receivers) {
    if (!wants(sample)) continue;
    const bytes = Buffer.from(body, 'base64');
    const input = { ...sample, method, url, headers, body: bytes };
    let error = '';
    try {
      await verify(input);
    } catch (e) {
      error = `refused: ${e.message}`;
    }
    try {
      await verify({ ...input, body: Buffer.concat([bytes, Buffer.from(' ')]), tampered: true });
      error ||= 'another body is accepted';
    } catch { /* as it should be */ }
    results.push({ library, profile: sample.profile, error });
  }
}
process.stdout.write(JSON.stringify(results));

// A receiver of "ptw", "workpro" or "exact": "DIALECT SECRET SIGNATURE TIMESTAMP", the body on standard input.
const crypto = require('crypto');

const [dialect, secret, signature, timestamp] = process.argv.slice(1);
const body = require('fs').readFileSync(0);
const hmac = crypto.createHmac('sha256', secret);
if (dialect === 'workpro') hmac.update(timestamp + '.');
const expected = Buffer.from((dialect === 'ptw' ? 'sha256=' : '') + hmac.update(body).digest('hex'));
const received = Buffer.from(signature);
const equal = received.length === expected.length && crypto.timingSafeEqual(received, expected);
console.log(equal ? 'accepted' : 'refused: another signature');

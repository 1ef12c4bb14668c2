// The published library: "verify SECRET HEADERS" says accepted or refused, "sign SECRET ID SECONDS" prints a signature.
const { Webhook, WebhookVerificationError } = require('standardwebhooks');

const [task, secret, ...rest] = process.argv.slice(1);
const body = require('fs').readFileSync(0);
if (task === 'verify') {
  try {
    new Webhook(secret).verify(body, JSON.parse(rest[0]));
    console.log('accepted');
  } catch (error) {
    if (!(error instanceof WebhookVerificationError)) throw error;
    console.log('refused: ' + error.message);
  }
} else {
  console.log(new Webhook(secret).sign(rest[0], new Date(Number(rest[1]) * 1000), body));
}

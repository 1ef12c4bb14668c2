# The published library: "verify SECRET HEADERS" says accepted or refused, "sign SECRET ID SECONDS" prints a signature.
import json
import sys
from datetime import datetime, timezone

from standardwebhooks.webhooks import Webhook, WebhookVerificationError

task, secret, *rest = sys.argv[1:]
body = sys.stdin.buffer.read()
if task == "verify":
    try:
        Webhook(secret).verify(body, json.loads(rest[0]))
        print("accepted")
    except WebhookVerificationError as error:
        print("refused:", error)
else:
    sent = datetime.fromtimestamp(int(rest[1]), tz=timezone.utc)
    print(Webhook(secret).sign(rest[0], sent, body.decode()))

# A receiver of "ptw", "workpro" or "exact": "DIALECT SECRET SIGNATURE TIMESTAMP", the body on standard input.
import hashlib
import hmac
import sys

dialect, secret, signature, timestamp = sys.argv[1:]
body = sys.stdin.buffer.read()
signed = timestamp.encode() + b"." + body if dialect == "workpro" else body
digits = hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest()
expected = "sha256=" + digits if dialect == "ptw" else digits
print("accepted" if hmac.compare_digest(expected, signature) else "refused: another signature")

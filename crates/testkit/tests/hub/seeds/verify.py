import hmac
import hashlib
import json

def verify_signature(payload_body, signature_header, secret):
    expected_sig = hmac.new(
        secret.encode('utf-8'),
        payload_body.encode('utf-8'),
        hashlib.sha256
    ).hexdigest()
    
    received_sig = signature_header.replace('sha256=', '')
    return hmac.compare_digest(expected_sig, received_sig)

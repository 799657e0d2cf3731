"""A small authorization server and API: single-use refresh tokens, PKCE, and one protected resource."""

import base64
import hashlib
import json
import secrets
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class AuthorizationServer:
    def __init__(self):
        self.challenges, self.refresh_tokens, self.access_tokens = {}, set(), set()
        self.spent, self.presented_again = set(), 0
        owner = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                fields = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                self.answer(*owner.token(fields))

            def do_GET(self):
                known = self.headers.get("Authorization", "").removeprefix("Bearer ") in owner.access_tokens
                self.answer(*((200, {"countries": []}) if known else (401, {})))

            def answer(self, status, body):
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.end_headers()
                self.wfile.write(json.dumps(body).encode())

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def code(self, challenge):
        """What the browser gets after a login."""
        code = secrets.token_urlsafe()
        self.challenges[code] = challenge
        return code

    def refresh_token(self):
        token = secrets.token_urlsafe()
        self.refresh_tokens.add(token)
        return token

    def token(self, fields):
        if (fields["client_id"], fields["client_secret"]) != ("an-id", "a-secret"):
            return 401, {"error": "invalid_client"}
        if fields["grant_type"] == "authorization_code":
            digest = hashlib.sha256(fields["code_verifier"].encode()).digest()
            if base64.urlsafe_b64encode(digest).rstrip(b"=").decode() != self.challenges.pop(fields["code"], None):
                return 400, {"error": "invalid_grant"}
        elif fields["refresh_token"] in self.refresh_tokens:
            self.refresh_tokens.remove(fields["refresh_token"])
            self.spent.add(fields["refresh_token"])
        else:
            # `check` presents one that it has made up.
            self.presented_again += fields["refresh_token"] in self.spent
            return 400, {"error": "invalid_grant"}
        access = secrets.token_urlsafe()
        self.access_tokens.add(access)
        return 200, {"token_type": "Bearer", "expires_in": 3600, "access_token": access, "refresh_token": self.refresh_token()}

"""An issuer of access tokens that the warehouse trusts."""

import functools
import http.server
import json
import threading
import time
from pathlib import Path

from joserfc import jwt
from joserfc.jwk import KeySet, RSAKey

ISSUER = "https://idp.example"


class Issuer:
    """Signs access tokens that the warehouse accepts, and remembers them all."""

    def __init__(self, folder: Path):
        self.key = RSAKey.generate_key(2048, {"kid": "1", "alg": "RS256", "use": "sig"}, private=True)
        self.issued: list[str] = []
        (folder / "jwks").write_text(json.dumps(KeySet([self.key]).as_dict(private=False)))
        handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=folder)
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.jwks = f"http://127.0.0.1:{self.server.server_port}/jwks"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()

    def token(self, subject: str, *, seconds: float = 3600) -> str:
        claims = {"iss": ISSUER, "aud": "warehouse", "sub": subject, "exp": int(time.time() + seconds), "n": len(self.issued)}
        self.issued.append(jwt.encode({"alg": "RS256", "kid": "1"}, claims, self.key))
        return self.issued[-1]

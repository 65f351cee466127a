"""The key of an ACME account, and what is signed with it (RFC 8555 section 6.2, RFC 7515, RFC 7638)."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key

_COORDINATE_BYTES = 32  # P-256


def base64url(data: bytes) -> str:
    """Without padding, as JOSE has it (RFC 7515 section 2)."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def unbase64url(text: str) -> bytes:
    """Padded or not. Raises ValueError."""
    padded = text.rstrip("=")
    return base64.b64decode(padded + "=" * (-len(padded) % 4), altchars=b"-_", validate=True)


class AccountKey:
    """An ECDSA P-256 key (ES256, which every ACME server has to take). Does not show itself."""

    def __init__(self, key: ec.EllipticCurvePrivateKey) -> None:
        self._key = key

    @classmethod
    def generate(cls) -> AccountKey:
        return cls(ec.generate_private_key(ec.SECP256R1()))

    @classmethod
    def from_pem(cls, pem: bytes) -> AccountKey:
        """Raises ValueError for anything but an unencrypted P-256 key."""
        try:
            key = load_pem_private_key(pem, None)
        except TypeError:
            raise ValueError("the account key is encrypted") from None
        if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
            raise ValueError("the account key is not an ECDSA P-256 key")
        return cls(key)

    def to_pem(self) -> bytes:
        """Unencrypted PKCS #8: for a file that nobody else may read."""
        return self._key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())

    @property
    def jwk(self) -> dict[str, str]:
        """The public half."""
        numbers = self._key.public_key().public_numbers()
        x, y = (base64url(value.to_bytes(_COORDINATE_BYTES, "big")) for value in (numbers.x, numbers.y))
        return {"crv": "P-256", "kty": "EC", "x": x, "y": y}

    @property
    def thumbprint(self) -> str:
        """Of the public half (RFC 7638)."""
        canonical = json.dumps(self.jwk, sort_keys=True, separators=(",", ":"))
        return base64url(hashlib.sha256(canonical.encode()).digest())

    def key_authorization(self, token: str) -> str:
        """What a challenge has to show (RFC 8555 section 8.1)."""
        return f"{token}.{self.thumbprint}"

    def sign(self, protected: Mapping[str, object], payload: object) -> bytes:
        """A JWS in flattened JSON; a ``payload`` of None is a POST-as-GET (RFC 8555 section 6.3)."""

        def signature(text: bytes) -> bytes:
            r, s = decode_dss_signature(self._key.sign(text, ec.ECDSA(hashes.SHA256())))
            return r.to_bytes(_COORDINATE_BYTES, "big") + s.to_bytes(_COORDINATE_BYTES, "big")

        head = base64url(json.dumps({"alg": "ES256", **protected}).encode())
        body = "" if payload is None else base64url(json.dumps(payload).encode())
        return json.dumps(_flattened(head, body, signature(f"{head}.{body}".encode()))).encode()

    def __repr__(self) -> str:
        return f"AccountKey({self.thumbprint})"

    def __reduce__(self) -> str:
        raise TypeError("a private key is not pickled")


@dataclass(frozen=True, slots=True)
class ExternalAccount:
    """An account that the CA knows already, by the key it handed out (RFC 8555 section 7.3.4)."""

    key_id: str
    mac_key: bytes = field(repr=False)

    def binding(self, key: AccountKey, url: str) -> dict[str, str]:
        """Our new key, under the CA's MAC (HS256)."""
        head = base64url(json.dumps({"alg": "HS256", "kid": self.key_id, "url": url}).encode())
        body = base64url(json.dumps(key.jwk).encode())
        return _flattened(head, body, hmac.digest(self.mac_key, f"{head}.{body}".encode(), "sha256"))


def _flattened(head: str, body: str, signature: bytes) -> dict[str, str]:
    return {"protected": head, "payload": body, "signature": base64url(signature)}

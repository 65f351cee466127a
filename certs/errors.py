"""What can be wrong with certificates, keys and the local CA, grouped by whose doing it is.

Reasons are words that are safe as metric labels; each has one sentence for people. Nothing secret is ever in a detail.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from pathlib import Path


class CertsError(Exception):
    """The base of everything this package raises on purpose."""


class CertificateInvalid(CertsError):
    """A certificate, usually a peer's, that cannot be read as RFC 5280 wants it. The text says what is wrong with it
    and may hold text from the certificate: escape it before it reaches a terminal."""


class RuleError(CertsError):
    """An access rule that does not parse; ``suggestion`` is what was probably meant, or empty."""

    def __init__(self, problem: str, suggestion: str = "") -> None:
        super().__init__(f"{problem} ({suggestion})" if suggestion else problem)
        self.problem = problem
        self.suggestion = suggestion


class MaterialReason(StrEnum):
    """Why material cannot be served. The value is the label; :attr:`sentence` is for people."""

    sentence: str

    def __new__(cls, label: str, sentence: str = "") -> MaterialReason:
        member = str.__new__(cls, label)
        member._value_ = label
        member.sentence = sentence
        return member

    # Files.
    MISSING_FILE = "missing_file", "a file is not there"
    UNREADABLE = "unreadable", "a file cannot be read"
    NOT_REGULAR = "not_regular", "what should be a file is not a regular file"
    TRUST_PERMISSIONS = "trust_permissions", "others could change who is trusted: the file is not safely owned"
    PEM_INCOMPLETE = "pem_incomplete", "a PEM file is cut short, as in the middle of being written"
    PEM_INVALID = "pem_invalid", "a file is not the PEM it should be"
    CERTIFICATE_UNPARSABLE = "certificate_unparsable", "a certificate cannot be parsed"

    # The key.
    KEY_MISSING = "key_missing", "there is no private key"
    KEY_UNPARSABLE = "key_unparsable", "the private key cannot be parsed"
    KEY_MISMATCH = "key_mismatch", "the private key does not belong to the certificate"
    KEY_PERMISSIONS = "key_permissions", "others can read or change the private key"
    KEY_NOT_REGULAR = "key_not_regular", "the private key is not a regular file"
    KEY_ENCRYPTED = "key_encrypted", "the private key is encrypted and no passphrase file is set"
    PASSPHRASE_WRONG = "passphrase_wrong", "the passphrase does not open the private key"
    WEAK_KEY = "weak_key", "a key is weaker than RSA 2048, P-256 or Ed25519"
    UNSUPPORTED_KEY = "unsupported_key", "a key is of a kind that is not taken"

    # The leaf and its chain.
    EXPIRED = "expired", "a certificate has expired"
    NOT_YET_VALID = "not_yet_valid", "the certificate is not valid yet"
    WRONG_PURPOSE = "wrong_purpose", "the certificate is not for this use (key usage or extended key usage)"
    NO_SUBJECT_ALTERNATIVE_NAME = "no_subject_alternative_name", "the certificate has no subject alternative name"
    INVALID_SVID = "invalid_svid", "the certificate is not a valid SPIFFE X.509-SVID"
    INVALID_SERIAL = "invalid_serial", "the certificate's serial number is not 1 to 20 octets and positive"
    WEAK_SIGNATURE = "weak_signature", "a certificate is signed with SHA-1 or weaker"
    IS_CA = "is_ca", "the certificate is a CA's, not a leaf"
    CHAIN_INCOMPLETE = "chain_incomplete", "the certificate's chain does not lead to the trust bundle"
    CHAIN_INVALID = "chain_invalid", "the certificate's chain leads to the trust bundle but does not verify"
    NAME_MISMATCH = "name_mismatch", "the certificate is for another name"
    REVOKED = "revoked", "our own certificate, or one in its chain, has been revoked"

    # Trust.
    TRUST_EMPTY = "trust_empty", "the trust bundle holds no CA"
    TRUST_UNUSABLE = "trust_unusable", "no certificate in the trust bundle can vouch for anybody"
    CRL_INVALID = "crl_invalid", "a revocation list is not signed by a CA in the trust bundle, or cannot be used"
    CRL_EXPIRED = "crl_expired", "a revocation list is past its next update"

    COMMAND_FAILED = "command_failed", "the command that prints the material failed"
    SOURCE_TIMEOUT = "source_timeout", "the source of the material did not answer in time"
    HANDSHAKE_FAILED = "handshake_failed", "a trial handshake with the material failed"
    AUTHORITY_FAILED = "authority_failed", "the local CA did not issue"
    AGENT_FAILED = "agent_failed", "the SPIFFE agent gave no identity that can be used"
    ACME_FAILED = "acme_failed", "the ACME server did not issue"
    HANDOVER_INVALID = "handover_invalid", "material handed from one process to another was damaged"


class MaterialError(CertsError):
    """Our own material is not fit to serve.

    ``retry`` says that the file was probably caught in the middle of being written: read it again soon, before raising
    an alarm. ``retry_at`` is when the same material becomes fit by itself (a NotBefore in the future).
    """

    def __init__(
        self,
        reason: MaterialReason,
        detail: str = "",
        path: Path | None = None,
        *,
        retry: bool = False,
        retry_at: datetime | None = None,
    ) -> None:
        self.reason = reason
        self.detail = detail
        self.path = path
        self.retry = retry
        self.retry_at = retry_at
        super().__init__(str(self))

    def __str__(self) -> str:
        place = f"{self.path}: " if self.path is not None else ""
        detail = f": {self.detail}" if self.detail else ""
        return f"{place}{self.reason.sentence}{detail}"

    def __repr__(self) -> str:
        return f"MaterialError({self.reason.value}, {self.detail!r}, path={str(self.path) if self.path else None!r})"


class AuthorityError(CertsError):
    """The local CA refuses, or its directory is not in order. The text says which and what to do."""


class UnsafeStep(AuthorityError):
    """A rollover step that would cut somebody off; the text says who."""


class PublishError(CertsError):
    """A set could not be published (disk full, no permission); what was published before still stands."""

"""Who may talk: the access rules of a listener, and what OpenSSL and we ourselves find in a peer's certificate.

The judgement falls inside OpenSSL's verify callback, so that a peer that is refused is told by an alert, in TLS 1.3
too, and before anything is opened towards the upstream. At that moment the peer has shown the certificate but not yet
proved that it holds the key: an identity in a refusal is one that was claimed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from OpenSSL import SSL

from certs.errors import CertificateInvalid
from certs.form import ChainForms
from certs.identity import Identity, IdentityCache, PeerProblem, Role, peer_problem
from certs.rules import Rule, RuleKind
from tlsidecar.dataplane.stream import CERTIFICATE_REJECTED, VERIFIED, Leaf
from tlsidecar.dataplane.tls_failure import CRL_ERRORS, NO_CRL, verify_reason
from tlsidecar.outcomes import Reason, Stage
from tlsidecar.settings import ListenerSettings, Mode

# X509_V_ERR numbers, which decide the alert that the peer sees. certificate_expired is the one for "expired or not
# currently valid" (RFC 8446 section 6.2); OpenSSL would say bad_certificate of one that is not valid yet.
_NOT_YET_VALID, _HAS_EXPIRED, _NO_ISSUER, _INVALID_PURPOSE = 9, 10, 20, 26

_DIGEST_BYTES = 32  # SHA-256

Problem = tuple[PeerProblem, str]

# Of what a refused peer has shown, so much is kept for whoever asks why: the leaf first.
KEPT_CHAIN_BYTES = 8 * 1024

# So many identities' decisions are remembered before the table starts again.
_DECISIONS_KEPT = 4096


class Policy:
    """The access rules of one listener: ``allow`` for peers that come in, ``expect`` for the remote we go out to."""

    def __init__(self, rules: Sequence[Rule], *, names_hosts: bool, must_ask: bool = False) -> None:
        """``must_ask``: a remote that does not ask for our certificate is refused, for it would not be mutual."""
        self.rules = tuple(rules)
        self.must_ask = must_ask
        self._names_hosts = names_hosts
        self._decisions: dict[str, tuple[Problem | None, Rule | None]] = {}

    @classmethod
    def of(cls, listener: ListenerSettings) -> Policy:
        originate = listener.mode is Mode.ORIGINATE
        # Whom only a route lets in must come past the handshake to get there; the routes judge each request.
        texts = listener.expect if originate else dict.fromkeys(_all_allowed(listener))
        must_ask = originate and listener.require_client_certificate_request
        return cls([Rule.parse(text) for text in texts], names_hosts=originate, must_ask=must_ask)

    def __repr__(self) -> str:
        return f"<Policy {[str(rule) for rule in self.rules]}>"

    def decide(self, identity: Identity, role: Role) -> tuple[Problem | None, Rule | None]:
        """What is wrong with the peer's leaf as that of ``role``, if anything; else the rule that lets ``identity``
        pass, or None: refused. Neither changes with time, and ``role`` is always the same."""
        try:
            return self._decisions[identity.sha256]
        except KeyError:
            pass
        if len(self._decisions) >= _DECISIONS_KEPT:
            self._decisions.clear()
        problem = peer_problem(identity, role)
        rule = None
        if problem is None:
            rule = next((each for each in self.rules if not self.mismatch(each, identity)), None)
        decision = self._decisions[identity.sha256] = (problem, rule)
        return decision

    def allows(self, identity: Identity, role: Role) -> bool:
        problem, rule = self.decide(identity, role)
        return problem is None and rule is not None

    def mismatch(self, rule: Rule, identity: Identity) -> str:
        """Why ``rule``, one of ours, does not let ``identity`` pass, in words; empty when it does."""
        reason = rule.mismatch(identity)
        if reason and self._names_hosts and rule.kind is RuleKind.DNS and not identity.svid_error:
            # A server's certificate may name hosts by a wildcard, which a rule for one host then covers (RFC 9525).
            host = rule.text.partition(":")[2]
            if not host.startswith("*.") and identity.covers_host(host):
                return ""
        return reason


def _all_allowed(listener: ListenerSettings) -> Iterator[str]:
    yield from listener.allow
    for route in listener.routes:
        yield from route.allow


class PeerJudge:
    """Judges one peer during one handshake and keeps what it found; a :class:`~.stream.Verifier`."""

    __slots__ = (
        "_choose",
        "_denial",
        "_forms",
        "_identities",
        "_may_vouch",
        "_policy",
        "_role",
        "_soft_crl",
        "chain",
        "detail",
        "identity",
        "is_probe",
        "reason",
        "rule",
        "stage",
    )

    def __init__(
        self,
        policy: Policy,
        role: Role,
        identities: IdentityCache,
        forms: ChainForms,
        *,
        soft_crl: bool,
        may_vouch: Callable[[bytes, Identity], bool] | None = None,
        is_probe: Callable[[Identity], bool] | None = None,
        denial: Callable[[Identity], str] | None = None,
        choose: Callable[[str], SSL.Context | None] | None = None,
    ) -> None:
        """``may_vouch`` tells whether the CA with a digest may vouch for a peer, where that is not so for all of them;
        ``is_probe`` tells whether a peer that would be refused is one of our own probes: it may finish its
        handshake, and gets nothing else; ``denial`` tells why a peer is kept out whom the rules let in, if it is;
        ``choose`` gives another context, where there are several."""
        self._policy = policy
        self._role = role
        self._identities = identities
        self._forms = forms
        self._soft_crl = soft_crl
        self._may_vouch = may_vouch
        self._denial = denial
        self.is_probe = is_probe
        self._choose = choose
        self.identity: Identity | None = None
        self.rule: Rule | None = None
        self.reason: Reason | None = None
        self.stage = Stage.VERIFY
        self.detail = ""
        self.chain: tuple[bytes, ...] = ()  # of a peer that is refused: its leaf, and what is above it

    def choose(self, server_name: str) -> SSL.Context | None:
        """See :class:`~.stream.Verifier`."""
        return self._choose(server_name) if self._choose is not None else None

    def judge_by(
        self, forms: ChainForms, may_vouch: Callable[[bytes, Identity], bool] | None, *, soft_crl: bool
    ) -> None:
        """Another identity of ours was chosen: its trust counts."""
        self._forms, self._may_vouch, self._soft_crl = forms, may_vouch, soft_crl

    def let_go(self) -> None:
        """The handshake is over, and nothing is asked of whoever made this any more."""
        self.is_probe = self._choose = None

    def verify(self, error: int, depth: int, leaf: Leaf) -> int:
        """See :class:`~.stream.Verifier`."""
        code = self._judge(error, depth, leaf)
        if code != VERIFIED:
            self.chain = kept_chain((leaf.der(), *leaf.above()))
        return code

    def _judge(self, error: int, depth: int, leaf: Leaf) -> int:
        if error and self._forgives(error, depth):
            return VERIFIED
        try:
            digest = leaf.sha256()
            self.identity = self._identities.identify(digest, leaf.der)
        except CertificateInvalid as invalid:
            return self._refuse(Reason.CERTIFICATE_INVALID, str(invalid), error or CERTIFICATE_REJECTED)
        if error:
            place = "the certificate" if depth == 0 else f"the certificate {depth} above it in the chain"
            shown = _HAS_EXPIRED if error == _NOT_YET_VALID else error
            return self._refuse(verify_reason(error), f"{openssl_sentence(error)} (for {place})", shown)
        chain = digest + leaf.above_sha256()
        defect = self._forms.defect(chain, leaf.der, leaf.above)
        if defect:
            return self._refuse(Reason.CERTIFICATE_INVALID, defect, CERTIFICATE_REJECTED)
        problem, self.rule = self._policy.decide(self.identity, self._role)
        if problem is not None:
            reason = Reason(problem[0].value)
            code = _INVALID_PURPOSE if reason is Reason.WRONG_PURPOSE else CERTIFICATE_REJECTED
            return self._refuse(reason, problem[1], code)
        if self._may_vouch is not None and not self._may_vouch(chain[-_DIGEST_BYTES:], self.identity):
            domain = self.identity.spiffe.trust_domain if self.identity.spiffe is not None else "none"
            detail = f"its chain ends in a CA that may not vouch for its trust domain, {domain}"
            return self._refuse(verify_reason(_NO_ISSUER), detail, _NO_ISSUER)
        denial = self._denial(self.identity) if self._denial is not None else ""
        if self.rule is not None and not denial:
            return VERIFIED
        self.stage = Stage.AUTHORIZE
        if denial:
            return self._refuse(Reason.IDENTITY_DENIED, denial, CERTIFICATE_REJECTED)
        rules = ", ".join(str(rule) for rule in self._policy.rules)
        if self._role is Role.SERVER:
            return self._refuse(Reason.NOT_EXPECTED, f"expected one of: {rules}", CERTIFICATE_REJECTED)
        return self._refuse(Reason.NOT_ALLOWED, f"allowed are: {rules}", CERTIFICATE_REJECTED)

    def _forgives(self, error: int, depth: int) -> bool:
        if error not in CRL_ERRORS:
            return False
        # The CAs above the leaf's issuer often publish no list that anybody hands on; where there is one it counts.
        return self._soft_crl or (error == NO_CRL and depth > 0)

    def _refuse(self, reason: Reason, detail: str, code: int) -> int:
        if self.identity is not None and self.is_probe is not None and self.is_probe(self.identity):
            return VERIFIED
        self.reason = reason
        self.detail = detail
        return code


def kept_chain(chain: Sequence[bytes]) -> tuple[bytes, ...]:
    """As much of a chain, leaf first, as is kept of a refused peer's."""
    kept: list[bytes] = []
    left = KEPT_CHAIN_BYTES
    for der in chain:
        left -= len(der)
        if left < 0:
            break
        kept.append(der)
    return tuple(kept)


def openssl_sentence(error: int) -> str:
    """OpenSSL's words for a verification error, nearly."""
    return _OPENSSL_SENTENCES.get(error, f"OpenSSL verification error {error}")


# X509_verify_cert_error_string(3), for what can be wrong with a peer's chain, with RFC 5280's section where it has one;
# the public API does not give it.
_OPENSSL_SENTENCES = {
    1: "unspecified error, such as too many names under too many name constraints (RFC 5280 section 4.2.1.10)",
    2: "unable to get issuer certificate",
    3: "unable to get certificate CRL",
    4: "unable to decrypt the certificate's signature",
    5: "unable to decrypt the CRL's signature",
    6: "unable to decode the issuer's public key",
    7: "certificate signature failure",
    8: "CRL signature failure",
    9: "certificate is not yet valid",
    10: "certificate has expired",
    11: "CRL is not yet valid",
    12: "CRL has expired",
    13: "format error in the certificate's notBefore (RFC 5280 section 4.1.2.5)",
    14: "format error in the certificate's notAfter (RFC 5280 section 4.1.2.5)",
    15: "format error in the CRL's thisUpdate (RFC 5280 section 5.1.2.4)",
    16: "format error in the CRL's nextUpdate (RFC 5280 section 5.1.2.5)",
    17: "out of memory",
    18: "self-signed certificate",
    19: "self-signed certificate in certificate chain",
    20: "unable to get local issuer certificate",
    21: "unable to verify the first certificate",
    22: "certificate chain too long",
    23: "certificate revoked",
    24: "the issuer's certificate has no public key",
    25: "path length constraint exceeded (RFC 5280 section 4.2.1.9)",
    26: "unsuitable certificate purpose (RFC 5280 section 4.2.1.12)",
    32: "key usage does not include certificate signing (RFC 5280 section 4.2.1.3)",
    33: "unable to get the certificate of the CRL's issuer",
    34: "unhandled critical extension (RFC 5280 section 4.2)",
    35: "key usage does not include CRL signing (RFC 5280 section 4.2.1.3)",
    36: "unhandled critical CRL extension (RFC 5280 section 5.2)",
    37: "invalid non-CA certificate: it says in part that it is a CA (RFC 5280 section 4.2.1.9)",
    40: "proxy certificates are not taken (RFC 3820)",
    41: "invalid or inconsistent certificate extension (RFC 5280 section 4.2)",
    42: "invalid or inconsistent certificate policy extension (RFC 5280 section 4.2.1.4)",
    43: "no explicit policy (RFC 5280 section 4.2.1.11)",
    44: "the CRL is for other certificates (RFC 5280 section 5.2.5)",
    45: "unsupported feature of an extension (RFC 5280 section 4.2)",
    46: "RFC 3779 resources that the CA does not have",
    47: "permitted subtree violation (RFC 5280 section 4.2.1.10)",
    48: "excluded subtree violation (RFC 5280 section 4.2.1.10)",
    49: "minimum and maximum in name constraints (RFC 5280 section 4.2.1.10)",
    51: "unsupported type of name constraint (RFC 5280 section 4.2.1.10)",
    52: "invalid syntax in a name constraint (RFC 5280 section 4.2.1.10)",
    53: "invalid syntax in a name (RFC 5280 section 4.2.1.6)",
    54: "unable to verify the chain of the CRL's issuer (RFC 5280 section 6.3.3)",
    55: "the chain runs in a circle",
    66: "EE certificate key too weak",
    67: "CA certificate key too weak",
    68: "CA signature digest algorithm too weak",
    76: "the certificate's signature algorithm is not known",
    77: "the certificate's signature algorithm is not that of the issuer's key",
    78: "two different signature algorithms in one certificate (RFC 5280 section 4.1.1.2)",
    79: "invalid CA certificate (RFC 5280 section 4.2.1.9)",
    80: "a path length in a certificate that is no CA's (RFC 5280 section 4.2.1.9)",
    81: "a path length without the key usage keyCertSign (RFC 5280 section 4.2.1.9)",
    82: "the key usage keyCertSign in a certificate that is no CA's (RFC 5280 section 4.2.1.3)",
    83: "empty issuer (RFC 5280 section 4.1.2.4)",
    84: "empty subject (RFC 5280 section 4.1.2.6)",
    85: "missing authority key identifier (RFC 5280 section 4.2.1.1)",
    86: "missing subject key identifier (RFC 5280 section 4.2.1.2)",
    87: "empty subject alternative name (RFC 5280 section 4.2.1.6)",
    88: "empty subject, and a subject alternative name that is not critical (RFC 5280 section 4.2.1.6)",
    89: "a CA's basic constraints are not critical (RFC 5280 section 4.2.1.9)",
    90: "critical authority key identifier (RFC 5280 section 4.2.1.1)",
    91: "critical subject key identifier (RFC 5280 section 4.2.1.2)",
    92: "a CA without key usage (RFC 5280 section 4.2.1.3)",
    93: "extensions in a certificate that is not of version 3 (RFC 5280 section 4.1.2.1)",
    94: "a key with parameters of its own instead of a named curve (RFC 5480 section 2.1.1)",
    102: "empty authority key identifier (RFC 5280 section 4.2.1.1)",
    103: "an authority key identifier with an issuer or a serial number alone (RFC 5280 section 4.2.1.1)",
}

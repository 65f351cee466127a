"""What cryptography raises for certificates that are not as RFC 5280 wants them, when they are loaded and also later,
when a name or key in them is first asked for."""

from __future__ import annotations

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm

# A bit string where a name's text belongs is a TypeError. InvalidVersion and DuplicateExtension are not ValueErrors. A
# Warning is raised where the process turns warnings into errors.
PARSE_ERRORS: tuple[type[Exception], ...] = (
    ValueError,
    TypeError,
    UnsupportedAlgorithm,
    x509.InvalidVersion,
    x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
    Warning,
)
SIGNATURE_ERRORS: tuple[type[Exception], ...] = (*PARSE_ERRORS, InvalidSignature)

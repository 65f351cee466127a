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


def plain(error: Exception) -> str:
    """A parser's complaint as far as people can use it."""
    text = f"{error} is missing" if isinstance(error, KeyError) else str(error)
    if "ParseError" not in text:
        return text
    place = text.partition("location: [")[2]
    fields = [part.strip(' "]})') for part in place.split(",")]
    named = [part for part in fields if part and not part.isdigit()]
    return f"{' of '.join(reversed(named)) or 'something in it'} is not encoded as RFC 5280 has it"


def describe_error(error: Exception) -> str:
    """OpenSSL's own words for a pyOpenSSL error, without its library and function names."""
    if error.args and isinstance(error.args[0], list):
        reasons = dict.fromkeys(entry[-1] for entry in error.args[0] if entry[-1] and entry[-1] != "nested asn1 error")
        return "; ".join(reasons) or type(error).__name__
    return str(error) or type(error).__name__

"""ACME (RFC 8555) without I/O: requests and pauses out, answers in.

``issuance`` is the walk from names to a certificate, as a generator of commands; ``session`` signs and repeats,
``account`` holds the key, ``challenges`` makes what proves a name (RFC 8555 section 8.3, RFC 8737), ``renewal_info``
asks the CA when to renew (RFC 9773). ``transport`` carries the commands out over HTTPS.
"""

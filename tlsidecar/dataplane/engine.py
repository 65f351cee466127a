"""Which implementation of a TLS stream this process uses; chosen once, at import.

``TLSIDECAR_ENGINE=portable`` asks for the public-API twin; otherwise it is used only when pyOpenSSL's private binding
lacks something the fast one needs.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tlsidecar.dataplane.stream_fast import FastStream as Stream
    from tlsidecar.dataplane.stream_fast import install_chooser, install_verifier, notice_requests, select_protocol

    NAME: str
else:
    # One of them: the other is nobody's.
    NAME = "portable"
    if os.environ.get("TLSIDECAR_ENGINE") != "portable":
        try:
            from tlsidecar.dataplane.stream_fast import FastStream as Stream

            NAME = "fast"
        except ImportError:
            pass
    if NAME == "portable":
        from tlsidecar.dataplane.stream_portable import PortableStream as Stream
    _module = import_module(Stream.__module__)
    install_chooser = _module.install_chooser
    install_verifier = _module.install_verifier
    notice_requests = _module.notice_requests
    select_protocol = _module.select_protocol

__all__ = ["NAME", "Stream", "install_chooser", "install_verifier", "notice_requests", "select_protocol"]

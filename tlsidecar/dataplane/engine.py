"""Which implementation of a TLS stream this process uses; chosen once, at import.

``TLSIDECAR_ENGINE=portable`` asks for the public-API twin; otherwise it is used only when pyOpenSSL's private binding
lacks something the fast one needs.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from tlsidecar.dataplane import stream_portable

if TYPE_CHECKING:
    from tlsidecar.dataplane.stream_fast import FastStream as Stream
    from tlsidecar.dataplane.stream_fast import install_chooser, install_verifier, notice_requests, select_protocol

    NAME: str
else:
    NAME = "portable"
    Stream = stream_portable.PortableStream
    install_chooser = stream_portable.install_chooser
    install_verifier = stream_portable.install_verifier
    notice_requests = stream_portable.notice_requests
    select_protocol = stream_portable.select_protocol
    if os.environ.get("TLSIDECAR_ENGINE") != "portable":
        try:
            from tlsidecar.dataplane.stream_fast import FastStream as Stream
            from tlsidecar.dataplane.stream_fast import (
                install_chooser,
                install_verifier,
                notice_requests,
                select_protocol,
            )

            NAME = "fast"
        except ImportError:
            pass

__all__ = ["NAME", "Stream", "install_chooser", "install_verifier", "notice_requests", "select_protocol"]

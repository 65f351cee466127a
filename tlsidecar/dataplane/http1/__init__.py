"""HTTP/1.1 through the sidecar. ``connection`` and ``upstream_side`` have the sockets; everything else is without I/O.

``conversation`` drives one downstream connection; ``request_scanner`` and ``response_head`` judge heads, ``body`` and
``chunked`` find where bodies end, ``forward`` says what goes on, ``h11_lane`` takes what the plain lane leaves.
"""

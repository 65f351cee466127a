"""HTTP/1.1 through the sidecar, without I/O: bytes and events in, bytes and commands out.

``exchange`` drives one downstream connection; ``request_head`` and ``response_head`` judge, ``forward`` and
``identity_headers`` say what goes on, ``body`` counts, ``h11_lane`` takes what the plain lane leaves.
"""

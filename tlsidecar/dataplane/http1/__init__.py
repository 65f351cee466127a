"""HTTP/1.1 through the sidecar, without I/O but for ``connection``: bytes and events in, bytes and commands out.

``conversation`` drives one downstream connection; ``request_head`` and ``response_head`` judge, ``forward`` says what
goes on, ``body`` counts, ``h11_lane`` takes what the plain lane leaves.
"""

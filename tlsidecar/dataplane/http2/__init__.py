"""HTTP/2 (RFC 9113) and HPACK (RFC 7541), without I/O: bytes in, frames and bytes out.

``frames``, ``hpack``, ``huffman`` and ``errors`` are the codec and import nothing else of ours: whoever has to speak
HTTP/2 may use them.
"""

"""tlsidecar: mutual TLS beside a plaintext service."""

__version__ = "0.1.0"

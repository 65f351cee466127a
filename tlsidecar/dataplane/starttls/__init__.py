"""Protocols that begin in the clear and agree on TLS in words of their own."""

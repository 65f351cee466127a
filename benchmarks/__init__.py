"""The benchmark: tlsidecar and the proxies it is compared with, side by side, in one run (``make bench``)."""

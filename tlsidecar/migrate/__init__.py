"""Other proxies' configurations as ours: ``ghostunnel``, ``stunnel``, ``hitch`` and ``envoy`` read one each into a
``draft``, which writes a tlsidecar.toml and says what was left out."""

"""What the tests share: a sidecar process, services to put behind it, certificates, waiting."""

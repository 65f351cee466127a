"""Mixed load on one sidecar for minutes: what leaks, what drifts, what fails once in a thousand times."""

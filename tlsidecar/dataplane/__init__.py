"""The data plane: bytes come in on one side, are judged once, and leave on the other. It looks at nothing above it."""

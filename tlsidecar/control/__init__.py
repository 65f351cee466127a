"""The control plane: which material is in use, in which state the process is, and what needs a person."""

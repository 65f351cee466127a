"""The admin API's contract: what its replies tell, each record declared once, and how to call it.

Imports nothing of ours, so that the daemon, the command line and the terminal UI share it. See
:mod:`tlsidecar.api.declare` for how a record is declared and what is made from that.
"""

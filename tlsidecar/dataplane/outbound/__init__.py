"""Reaching an upstream: choosing, resolving, dialling, checking, and keeping connections for reuse."""

"""Certificates: identities, matched sets of material, a local CA, publishing and renewal."""

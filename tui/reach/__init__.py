"""How the console reaches sidecars: at a socket of this machine, or through a program of the user's (ssh, kubectl,
docker) that runs ``tlsidecar admin-pipe`` where the sidecar is."""

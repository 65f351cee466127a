"""The native sidecar put into Kubernetes manifests: ``pod`` changes one pod template, ``manifests`` finds the templates
in a text, ``webhook`` answers an API server that asks."""

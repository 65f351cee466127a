"""What the process may still do once it serves: the kernel holds it to what its configuration needs."""

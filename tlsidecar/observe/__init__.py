"""What is told about the running sidecar: events, refusals, the access log, the process log, the metrics."""

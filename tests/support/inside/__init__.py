"""What is tried inside a sidecar's own process; see sitecustomize.py, which Python imports there."""

from support.inside.sitecustomize import REPORT as REPORT
from support.inside.sitecustomize import SIGNAL as SIGNAL

"""One target under atheris, guided by coverage: ``python -m fuzz TARGET SECONDS``. What it finds is in findings/."""

from __future__ import annotations

import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["tlsidecar", "certs"], enable_loader_override=False):
    from fuzz.targets import MAX_BYTES, TARGETS

HERE = Path(__file__).parent


def main() -> None:
    name, seconds = sys.argv[1:3]
    found = HERE / "findings" / name
    grown = HERE / "grown" / name
    found.mkdir(parents=True, exist_ok=True)
    grown.mkdir(parents=True, exist_ok=True)
    arguments = [sys.argv[0], f"-max_total_time={seconds}", f"-max_len={MAX_BYTES}", f"-artifact_prefix={found}/"]
    arguments += ["-timeout=20", "-rss_limit_mb=1024", "-print_final_stats=1", "-verbosity=1"]
    dictionary = HERE / "http.dict"
    if name in ("request_head", "response_head", "chunked", "request_stream"):
        arguments.append(f"-dict={dictionary}")
    # What is new goes to the first directory; the seeds in the tree stay as they are.
    arguments += [str(grown), str(HERE / "corpus" / name)]
    atheris.Setup(arguments, TARGETS[name])
    atheris.Fuzz()


if __name__ == "__main__":
    main()

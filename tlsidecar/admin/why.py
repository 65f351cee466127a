"""The admin API's calls that say why, as the table of routes has them.

Few sidecars are ever asked, so what answers is loaded with the first question: on a thread of its own, while the loop
goes on serving.
"""

from __future__ import annotations

import asyncio
from importlib import import_module
from typing import TYPE_CHECKING

__all__ = ["certificate", "connection", "refusal"]

_ANSWERING = "tlsidecar.admin.explanations"

if TYPE_CHECKING:
    from tlsidecar.admin.explanations import certificate, connection, refusal
else:

    def _once_loaded(name):
        """The call of this name in the module that answers."""

        async def call(api, request):
            # Asked for each time, and not looked up: the import system lets a second question wait for the first.
            module = await asyncio.to_thread(import_module, _ANSWERING)
            return await getattr(module, name)(api, request)

        return call

    certificate, connection, refusal = map(_once_loaded, __all__)

"""The admin API's calls that say why, as the table of routes has them.

Few sidecars are ever asked, so what answers is loaded with the first question: on a thread of its own, while the loop
goes on serving.
"""

from __future__ import annotations

import asyncio
import sys
from importlib import import_module

from tlsidecar.admin.api import Api
from tlsidecar.admin.messages import AdminRequest, Reply

_ANSWERING = "tlsidecar.admin.explanations"


async def refusal(api: Api, request: AdminRequest) -> Reply:
    """``GET /v1/refusals/{id}``."""
    await _loaded()
    from tlsidecar.admin import explanations

    return await explanations.refusal(api, request)


async def connection(api: Api, request: AdminRequest) -> Reply:
    """``GET /v1/connections/{id}/explanation``."""
    await _loaded()
    from tlsidecar.admin import explanations

    return await explanations.connection(api, request)


async def certificate(api: Api, request: AdminRequest) -> Reply:
    """``GET /v1/explain``."""
    await _loaded()
    from tlsidecar.admin import explanations

    return await explanations.certificate(api, request)


async def _loaded() -> None:
    if _ANSWERING not in sys.modules:
        await asyncio.to_thread(import_module, _ANSWERING)

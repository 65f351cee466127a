"""Which words a listener's ``starttls`` stands for: who says what, to whom, and when."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from tlsidecar.dataplane.starttls import mysql, postgres, smtp
from tlsidecar.dataplane.starttls.mysql_session import MysqlSession
from tlsidecar.dataplane.starttls.script import Script
from tlsidecar.dataplane.starttls.smtp_session import SmtpSession
from tlsidecar.dataplane.starttls.translation import Translation
from tlsidecar.lazy_dataclass import dataclass


class Known(NamedTuple):
    """What there is to go by when a script begins."""

    name: str  # ours, where one has to be said
    greeting: bytes = b""  # the server's, where the client is to have it
    header: bytes = b""  # what goes before everything towards the local service


@dataclass(frozen=True, slots=True)
class Words:
    """One protocol's. Who is None says nothing before the protocol itself begins."""

    server: Callable[[Known], Script]  # for a peer that is to speak TLS
    local: Callable[[Known], Script] | None  # for an application that is not
    remote: Callable[[Known], Script]  # towards a server that is to speak TLS
    service: Callable[[Known], Script] | None  # towards a service that is not
    session: Callable[[bool], Translation] | None  # its start inside TLS, terminating or not; None: bytes as they are
    apology: Callable[[str], bytes]  # to a client, before anything else: that its server was not reached
    welcome: Callable[[str], bytes] | None = None  # for an application, once the remote, of this name, is known
    passes_greeting: bool = False  # the server's greeting is the client's, so the server is reached first
    request: Callable[[bytes], bytes] | None = None  # to a remote, of what an application has answered
    own_request: bytes = b""  # to a remote, for a check of ours


WORDS = {
    "postgres": Words(
        server=lambda _: postgres.PostgresServer(),
        local=lambda _: postgres.PostgresLocal(),
        remote=lambda _: postgres.PostgresClient(),
        service=None,
        session=None,
        apology=postgres.not_served,
    ),
    "smtp": Words(
        server=lambda known: smtp.SmtpServer(known.name),
        local=None,
        remote=lambda known: smtp.SmtpClient(known.name),
        service=lambda known: smtp.SmtpService(known.header),
        session=lambda _: SmtpSession(),
        apology=smtp.not_served,
        welcome=smtp.greeting,
    ),
    "mysql": Words(
        server=lambda known: mysql.MysqlServer(known.greeting),
        local=lambda known: mysql.MysqlLocal(known.greeting),
        remote=lambda _: mysql.MysqlGreeting(tls=True),
        service=lambda _: mysql.MysqlGreeting(tls=False),
        session=lambda terminates: MysqlSession(inside=terminates),
        apology=mysql.not_served,
        passes_greeting=True,
        request=mysql.ssl_request,
        own_request=mysql.OWN_SSL_REQUEST,
    ),
}

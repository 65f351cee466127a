"""Which words stand for what: each protocol's two sides agree with each other, and go by what they are given."""

from __future__ import annotations

import pytest
from unit.dataplane.starttls.test_mysql import greeting

from tlsidecar.config.listener_tables import LISTENER
from tlsidecar.dataplane.starttls import words_of
from tlsidecar.dataplane.starttls.mysql import ssl_request, with_tls
from tlsidecar.dataplane.starttls.mysql_session import MysqlSession
from tlsidecar.dataplane.starttls.script import Next, Script, Step
from tlsidecar.dataplane.starttls.smtp_session import SmtpSession
from tlsidecar.dataplane.starttls.words import WORDS, Known

KNOWN = Known("here.test", greeting(), b"PROXY ")


class Side:
    """A script, and what it has been told and not taken."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.shown = b""
        self.end: Step | None = None

    def take(self) -> bytes:
        """Play on: what it answers."""
        said = b""
        while self.end is None:
            step = self.script.look(self.shown)
            self.shown = self.shown[step.take :]
            said += step.answer
            if step.next is not Next.MORE:
                self.end = step
            elif not step.take:
                break
        return said


def agree(server: Script, client: Script) -> tuple[Side, Side]:
    """Both play until neither has anything more to say."""
    here, there = Side(server), Side(client)
    there.shown, here.shown = server.opening, client.opening
    for _ in range(20):
        to_client, to_server = here.take(), there.take()
        there.shown += to_client
        here.shown += to_server
        if not to_client and not to_server:
            break
    return here, there


@pytest.mark.parametrize("name", ["postgres", "smtp"])
def test_a_remote_of_ours_agrees_with_a_server_of_ours(name: str) -> None:
    words = WORDS[name]
    for side in agree(words.server(KNOWN), words.remote(KNOWN)):
        assert side.end is not None
        assert (side.end.next, side.shown) == (Next.TLS, b"")  # not a byte of TLS was taken, or left in the clear


def test_where_the_greeting_is_the_clients_the_answer_asks_for_tls() -> None:
    words = WORDS["mysql"]
    assert words.request is not None
    assert words.local is not None
    remote = Side(words.remote(KNOWN))
    remote.shown = words.server(KNOWN).opening
    remote.take()
    assert remote.end is not None
    assert remote.end.next is Next.PLAIN  # its greeting is the application's
    server = Side(words.server(KNOWN))
    for request in (words.own_request, words.request(words.own_request)):
        server = Side(words.server(KNOWN))
        server.shown = request
        server.take()
        assert server.end is not None
        assert (server.end.next, server.shown) == (Next.TLS, b"")
    assert words.local(KNOWN).opening == with_tls(greeting(), offered=False)
    assert words.request is ssl_request


@pytest.mark.parametrize("name", list(WORDS))
def test_every_protocol_refuses_what_is_not_its_own(name: str) -> None:
    words = WORDS[name]
    scripts = [make(KNOWN) for make in (words.server, words.local, words.remote, words.service) if make is not None]
    for script in scripts:
        side = Side(script)
        side.shown = b"\xff" * 512
        side.take()
        # An application that need not speak TLS may say anything: its server is to judge it.
        passes = name == "postgres" and script is not scripts[0] and script.opening == b""
        assert side.end is not None
        assert side.end.next is (Next.PLAIN if passes else Next.REFUSED)


def test_what_each_protocol_has() -> None:
    assert [name for name, words in WORDS.items() if words.passes_greeting] == ["mysql"]
    sessions = {name: words.session(True) if words.session is not None else None for name, words in WORDS.items()}
    kinds = {name: type(session) for name, session in sessions.items() if session is not None}
    assert kinds == {"smtp": SmtpSession, "mysql": MysqlSession}
    service = WORDS["smtp"].service
    assert service is not None
    assert service(KNOWN).opening == b"PROXY "  # before everything
    assert WORDS["postgres"].service is None
    for words in WORDS.values():
        assert b"nobody is there" in words.apology("nobody is there")


def test_a_name_stands_for_words_and_none_for_none() -> None:
    assert words_of("") is None
    assert words_of("smtp") is WORDS["smtp"]
    (entry,) = [each for each in LISTENER if each.key == "starttls"]
    assert set(entry.form.schema["enum"]) == set(WORDS)

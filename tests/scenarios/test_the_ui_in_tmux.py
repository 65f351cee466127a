"""``tlsidecar ui`` on a real terminal, beside a live sidecar: what an operator sees, does and is left with."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from OpenSSL import SSL
from support import configs
from support.mtls import Alerted, Peer, client_context, connected
from support.pki import Pair, Pki
from support.services import echo, serving
from support.sidecar import Sidecar, running
from support.terminal import Terminal, terminal
from support.waiting import eventually

pytestmark = pytest.mark.needs("tmux")

LEFT_BEHIND = ("alternate_on", "cursor_flag", "mouse_any_flag", "mouse_sgr_flag", "keypad_flag", "wrap_flag")


@contextlib.contextmanager
def sidecar_of(pki: Pki, folder: Path, *, allow: tuple[str, ...] = ("any",)) -> Iterator[tuple[Sidecar, Pair]]:
    """A sidecar that looks at its files only when told to."""
    own = pki.issue("server", "localhost")
    with serving(echo) as service:
        text = configs.identity(own, pki.trust, poll_interval="1h") + configs.terminate(service.address, allow=allow)
        with running(folder / "sidecar", text) as sidecar:
            yield sidecar, own


def start(shown: Terminal, admin_socket: Path, *options: str) -> None:
    shown.run(sys.executable, "-m", "tlsidecar", "ui", "--socket", str(admin_socket), *options)


def refused(sidecar: Sidecar, pki: Pki, pair: Pair) -> None:
    """Try to come in, and be turned away."""
    with contextlib.suppress(Alerted, ConnectionError), connected(sidecar.port(), pki.trust, pair) as peer:
        peer.send(b"x")
        assert not peer.recv(), "it was let in"


def scroll_to(shown: Terminal, words: str) -> None:
    """Page by page until ``words`` are there: a detail grows when the sidecar has answered. A page that was not drawn
    before the next key came may have held them: when there is no page further, it begins again at the top."""
    before = ""

    def look() -> bool:
        nonlocal before
        text = shown.text
        if words in text:
            return True
        at_the_end = text == before
        shown.press("Home" if at_the_end else "PageDown")
        before = "" if at_the_end else text
        return False

    eventually(look, every_s=0.2)


def leave(shown: Terminal) -> None:
    """Out of a detail, and wait: a key that came at once would be taken for alt and that key."""
    shown.press("Escape")
    shown.shows("1 Overview")


def seconds_left(shown: Terminal) -> int:
    """The countdown of our certificate on the certificates' tab, where it is in minutes and seconds."""
    found = re.search(r"(\d\d)m (\d\d)s ", shown.lines[shown.lines.index(shown.line("Our chain")) + 1])
    assert found, shown.text
    return int(found[1]) * 60 + int(found[2])


def test_who_is_connected_who_was_refused_and_what_expires(pki: Pki, tmp_path: Path) -> None:
    now = datetime.now(UTC)
    backup = pki.issue("backup", "backup.ops.internal")
    stranger = pki.issue("stranger", "crm.shop.internal")
    with sidecar_of(pki, tmp_path, allow=("dns:*.ops.internal",)) as (sidecar, _), terminal() as shown:
        pki.issue("server", "localhost", not_before=now - timedelta(hours=1), not_after=now + timedelta(minutes=40))
        assert sidecar.call("POST", "/v1/reload")[0] == 200
        before = shown.ask("stty -g")
        start(shown, sidecar.socket_path)
        shown.shows("ADMIN: connected", "nobody was refused", "Problems", "Expires next", "Traffic", "0 open")
        assert shown.state("alternate_on") == {"alternate_on": "1"}
        with connected(sidecar.port(), pki.trust, backup) as peer:
            peer.send(b"hello")
            assert peer.recv() == b"hello"
            refused(sidecar, pki, stranger)
            shown.shows("1 open", "crm.shop.internal", "not_allowed", "1 since start")
            shown.press("2")
            shown.shows("backup.ops.internal", " 1 connection", "PEER", "IDENTITY")
            shown.press("Enter")
            shown.shows("Connections > connection", "admitted by      dns:*.ops.internal")
            scroll_to(shown, "Peer certificate")
            leave(shown)
            shown.press("4")
            shown.shows("crm.shop.internal", "not_allowed", " 1 refusal")
            shown.press("Enter")
            shown.shows("Refusals > refused", "crm.shop.internal", "stage authorize, by this sidecar", "127.0.0.1:")
            leave(shown)
            shown.press("3")
            shown.shows("Our chain", "Trusted CAs", "localhost")
            first = seconds_left(shown)
            eventually(lambda: seconds_left(shown) < first)
            assert first - 10 < seconds_left(shown) < 40 * 60
            shown.press("5")
            shown.shows("refusal", "reload", "following")
            shown.press("6")
            shown.shows("Listener in", "dns:*.ops.internal", str(sidecar.socket_path)[:40])
        shown.press("2")
        shown.shows("no open connections")
        for columns, rows in ((60, 15), (40, 10), (20, 5), (133, 50), (80, 24)):
            shown.resize(columns, rows)
            eventually(lambda: _fills(shown, columns, rows))  # noqa: B023 - called at once
        shown.press("1")
        shown.shows("crm.shop.internal", "Traffic")
        shown.press("q")
        eventually(lambda: shown.is_at_rest)
        assert_left_clean(shown, before)


def _fills(shown: Terminal, columns: int, rows: int) -> bool:
    """The tabs and the keys stand where they belong at this size, and nothing is wider than the screen. What stands at
    the right edge shows that it was drawn for this size: a screen that was only cut off has the rest in place, too."""
    lines = shown.lines
    assert len(lines) == rows
    assert all(len(text) <= columns for text in lines)
    assert lines[0].endswith("ADMIN: connected"), lines
    assert lines[-1].endswith(" 0 connections"), lines
    assert len(lines[0]) == len(lines[-1]) == columns - 1, lines
    assert lines[2].startswith(" 1 Overview"), lines
    if columns >= 40:  # below that the state goes first, and the keys make room for the count
        assert lines[0].startswith(" tlsidecar"), lines
        assert lines[-1].startswith(" enter open"), lines
    return True


def assert_left_clean(shown: Terminal, before: str) -> None:
    assert shown.state(*LEFT_BEHIND) == dict(zip(LEFT_BEHIND, "010001", strict=True))
    assert not shown.pastes_in_brackets()
    assert shown.ask("stty -g") == before
    assert shown.ask("echo still a shell") == "still a shell"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_an_end_by_signal_leaves_the_terminal_clean(number: signal.Signals, tmp_path: Path) -> None:
    with terminal() as shown:
        before = shown.ask("stty -g")
        start(shown, tmp_path / "none.sock")
        shown.shows("Not connected", "is tlsidecar running?", "RETRY")
        os.kill(shown.child_pid, number)
        eventually(lambda: shown.is_at_rest)
        assert_left_clean(shown, before)


def test_it_ends_when_its_terminal_is_closed(tmp_path: Path) -> None:
    with terminal() as shown:
        start(shown, tmp_path / "none.sock")
        shown.shows("Not connected")
        pid = shown.child_pid
        shown.close()
        eventually(lambda: not Path(f"/proc/{pid}").exists())


def test_a_reload_from_the_menu_and_the_loss_of_the_sidecar(pki: Pki, tmp_path: Path) -> None:
    with sidecar_of(pki, tmp_path) as (sidecar, _), terminal() as shown:
        start(shown, sidecar.socket_path)
        shown.shows("ADMIN: connected")
        assert sidecar.status()["generation"] == 1
        fresh = pki.issue("server", "localhost")
        shown.press("a")
        shown.shows("Reload certificates", "Rotate now", "Drain")
        shown.press("Enter")
        shown.shows("No, leave it", "Yes, reload", "Open connections stay.")
        shown.press("Enter")
        shown.shows_no("Yes, reload")
        assert sidecar.status()["generation"] == 1
        shown.press("a")
        shown.shows("Actions on")
        shown.press("Enter")
        shown.shows("Yes, reload")
        shown.press("Down", "Enter")
        shown.shows("reload: applied, generation 2")
        status = sidecar.status()
        assert status["generation"] == 2
        certificates = sidecar.json("/v1/certificates")
        assert certificates["last_attempt"]["trigger"] == "admin"
        shown.press("3")
        shown.shows("generation 2", certificates["leaf"]["serial"])

        fresh.key.write_bytes(pki.issue("other", "localhost").key.read_bytes())
        shown.press("a")
        shown.shows("Actions on")
        shown.press("Enter")
        shown.shows("Yes, reload")
        shown.press("y")
        shown.shows("reload refused: ", "does not belong")
        assert sidecar.status()["generation"] == 2
        shown.press("1")
        shown.shows("degraded", "critical")
        pki.issue("server", "localhost")

        sidecar.kill()
        shown.shows("ADMIN: RETRY ", "STALE ", "the admin socket does not answer")
        sidecar.start()
        shown.shows("ADMIN: connected", "the sidecar was restarted", " ready ")
        shown.shows_no("the admin socket does not answer")
        with connected(sidecar.port(), pki.trust, pki.issue("client", "client.internal")):
            shown.shows("1 open")
        shown.press("C-q")
        eventually(lambda: shown.is_at_rest)


def test_closing_a_connection_and_draining_from_the_menu(pki: Pki, tmp_path: Path) -> None:
    client = pki.issue("client", "client.internal")
    with sidecar_of(pki, tmp_path) as (sidecar, _), terminal() as shown:
        start(shown, sidecar.socket_path)
        shown.shows("ADMIN: connected")
        port = sidecar.port()
        with (
            connected(port, pki.trust, client) as peer,
            connected(port, pki.trust, client) as other,
        ):
            for each in (peer, other):
                each.send(b"x")
                assert each.recv() == b"x"
            # Several workers number their connections each for itself.
            newest = sidecar.json("/v1/connections?sort=opened_at&order=desc")["connections"][0]
            assert newest["peer_address"] == "{}:{}".format(*other.sock.getsockname())
            shown.press("2")
            shown.shows(" 2 connections", "client.internal")
            shown.press("a")
            shown.shows(f"Close connection {newest['id']}")  # the newest is at the top, where the cursor is
            shown.press("Down", "Down", "Down", "Enter")
            shown.shows("The connection of client.internal from 127.0.0.1:", "Yes, close it")
            shown.press("y")
            shown.shows(f"connection {newest['id']} closed", " 1 connection")
            with pytest.raises((Alerted, ConnectionError)):
                assert other.recv(), "ended in order"
            peer.send(b"y")
            assert peer.recv() == b"y"
            shown.press("a")
            shown.shows("Actions on")
            shown.press("Down", "Down", "Enter")
            shown.shows("What is open (1 connection) gets 30 s", "Yes, drain")
            shown.press("y")
            eventually(lambda: sidecar.status()["state"] == "draining")
            shown.shows("draining")
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(("127.0.0.1", port), 10)
        shown.shows("drain: drained, ", within_s=40)
        shown.press("q")
        eventually(lambda: shown.is_at_rest)
        assert sidecar.status()["state"] == "draining"  # the UI is gone, the sidecar is not


HOSTILE_NAME = "\x1b]0;owned\x07[red]表\u202elive\u200b[@click=app.quit]q[/]\x9b2J"


def test_a_peer_cannot_draw_on_the_terminal(pki: Pki, tmp_path: Path) -> None:
    guest = pki.issue("guest", "guest.internal", common_name=HOSTILE_NAME, unit="x" * 60)
    stranger = Pki(tmp_path / "elsewhere").issue("stranger", common_name=HOSTILE_NAME, unit="\x1b[2J\x1b[31mowned")
    with sidecar_of(pki, tmp_path, allow=("any",)) as (sidecar, _), terminal() as shown:
        start(shown, sidecar.socket_path)
        shown.shows("ADMIN: connected")
        context = client_context(pki.trust, guest)
        peer = connect_hostile(sidecar.port(), context)
        try:
            refused(sidecar, pki, stranger)
            reasons = [sidecar.refusal(reason="unknown_ca")]
            assert "owned" in reasons[0]["subject"]
            shown.shows("unknown_ca", "1 open")
            for tab, heading in (("2", "IDENTITY"), ("4", "WHY"), ("5", "WHAT"), ("1", "Expires next")):
                shown.press(tab)
                shown.shows(heading, "guest.internal" if tab == "2" else "\\x1b")
                eventually(lambda: _is_whole(shown))
                shown.press("w")
                shown.press("Home" if tab in "24" else "End")
                eventually(lambda: _is_whole(shown))
                shown.press("w", "Enter")
                shown.shows(" > ")  # the title of a detail
                eventually(lambda: _is_whole(shown))
                if tab != "1":
                    shown.shows("\\x1b", "\\u202e")
                assert not re.search(r"\x1b\]|\x07|\x9b|\x1b\[2J", shown.painted)
                leave(shown)
        finally:
            peer.close()
        title = shown.state("pane_title")["pane_title"]
        assert "owned" not in title
        shown.press("q")
        eventually(lambda: shown.is_at_rest)
        raw = shown.raw.decode(errors="replace")
        for attack in ("\x1b]0;owned", "\x1b[2J\x1b[31mowned", "\u202e", "\u200b", "\x9b"):
            assert attack not in raw
        # Of the commands to the terminal itself, only that for the shape of the mouse pointer.
        assert {command[:3] for command in re.findall(r"\x1b\]([^\x07\x1b]*)", raw)} <= {"22;"}


def connect_hostile(port: int, context: SSL.Context) -> Peer:
    """In with a name and a protocol that are attacks, too, as far as TLS carries them."""
    context.set_alpn_protos([b"\x1b[31m\x9b2J", b"http/1.1"])
    sock = socket.create_connection(("127.0.0.1", port), 10)
    return Peer(context, sock, name="localhost").handshake()


def _is_whole(shown: Terminal) -> bool:
    """Rows 1, 2 and the last are where they belong: nothing has moved the cursor about."""
    lines = shown.lines
    assert len(lines) == 24
    assert lines[0].startswith(" tlsidecar  "), lines
    assert lines[0].endswith("ADMIN: connected"), lines
    assert lines[1].startswith(" cert "), lines
    assert re.match(r" (enter open|esc back) ", lines[-1]), lines
    return True

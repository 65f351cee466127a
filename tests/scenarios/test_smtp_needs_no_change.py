"""``starttls = "smtp"``: clients and servers of mail as they are, on either side of us."""

from __future__ import annotations

import smtplib
import socket
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from email.message import EmailMessage
from email.policy import SMTP
from pathlib import Path

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.handlers import Message
from support import configs
from support.certs_cli import certs, issued
from support.pki import Pki
from support.ports import free_ports
from support.services import serving
from support.sidecar import running
from support.waiting import eventually


class Mailbox(Message):
    """Keeps what was delivered."""

    def __init__(self) -> None:
        super().__init__()
        self.port = 0
        self.delivered: list[EmailMessage] = []

    def handle_message(self, message: EmailMessage) -> None:  # type: ignore[override]
        self.delivered.append(message)


@contextmanager
def mail_server(context: ssl.SSLContext | None = None) -> Iterator[Mailbox]:
    """With a ``context`` it takes mail only after STARTTLS."""
    mailbox = Mailbox()
    (mailbox.port,) = free_ports(1)
    controller = Controller(
        mailbox, hostname="127.0.0.1", port=mailbox.port, tls_context=context, require_starttls=context is not None
    )
    controller.start()
    try:
        yield mailbox
    finally:
        controller.stop()


def letter(subject: str) -> EmailMessage:
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = "app@app.test", "ops@ops.test", subject
    message.set_content("MAIL FROM: is how a line may begin, too\n.\n250-STARTTLS\n" * 2000)
    return message


def subjects(mailbox: Mailbox) -> list[str]:
    return [str(each["Subject"]) for each in mailbox.delivered]


def terminating(pki: Pki, upstream: str, **more: object) -> str:
    ours = configs.identity(pki.issue("server", "localhost"), pki.trust)
    return ours + configs.terminate(upstream, starttls="smtp", **more)


def test_clients_to_a_server_in_the_clear(tmp_path: Path, pki: Pki) -> None:
    ours = pki.issue("client", "app.test")
    with (
        mail_server() as mailbox,
        running(tmp_path / "sidecar", terminating(pki, f"127.0.0.1:{mailbox.port}")) as sidecar,
    ):
        with smtplib.SMTP("localhost", sidecar.port(), timeout=20) as smtp:
            assert smtp.ehlo() == (250, b"localhost\nSTARTTLS")
            assert smtp.docmd("MAIL", "FROM:<app@app.test>") == (530, b"5.7.0 Must issue a STARTTLS command first")
            smtp.starttls(context=pki.client_context(ours))
            smtp.send_message(letter("by smtplib"))
            assert not smtp.has_extn("starttls")
        (tmp_path / "mail").write_bytes(letter("by curl").as_bytes(policy=SMTP))
        command = ["curl", "-sS", "--ssl-reqd", f"smtp://localhost:{sidecar.port()}", "--cacert", str(pki.trust)]
        command += [
            *ours.curl(),
            "--mail-from",
            "a@app.test",
            "--mail-rcpt",
            "o@ops.test",
            "-T",
            str(tmp_path / "mail"),
        ]
        subprocess.run(command, check=True, timeout=30)
        assert subjects(mailbox) == ["by smtplib", "by curl"]

        with smtplib.SMTP("localhost", sidecar.port(), timeout=20) as smtp:
            smtp.starttls(context=pki.client_context())
            with pytest.raises((OSError, smtplib.SMTPException)):
                smtp.noop()
        sidecar.refusal(reason="no_certificate")


HOSTILE = {
    b"EHLO me\r\nSTARTTLS\r\nRSET\r\n": (b"503 5.5.1", "Nothing may be sent behind STARTTLS"),
    b"EHLO me\nSTARTTLS\n": (b"500 5.5.2", "has to end with CR LF"),
    b"GET / HTTP/1.1\r\nHost: me\r\n\r\n": (b"220 localhost", "it speaks HTTP"),
    b"MAIL FROM:<a@b.test>\r\nQUIT\r\n": (b"221 2.0.0", "it went without STARTTLS"),
}


def test_who_does_not_keep_to_it_is_turned_away(tmp_path: Path, pki: Pki) -> None:
    with serving(lambda _: None) as service, running(tmp_path, terminating(pki, service.address)) as sidecar:
        for sent, (answered, detail) in HOSTILE.items():
            with socket.create_connection(("127.0.0.1", sidecar.port()), 20) as client:
                client.sendall(sent)
                said = b"".join(iter(lambda: client.recv(65536), b""))
            assert said.splitlines()[-1].startswith(answered)
            eventually(lambda: detail in sidecar.refusal(reason="starttls_refused")["detail"])  # noqa: B023
        with smtplib.SMTP("localhost", sidecar.port(), timeout=20) as smtp:  # a load balancer's probe
            assert smtp.helo()[0] == 250
        sidecar.counts(1, "tlsidecar_connections_total", outcome="empty")
        assert len(sidecar.refusals()) == len(HOSTILE)
        assert service.connections == 0


def test_a_service_that_offers_starttls_and_one_that_will_not_serve(tmp_path: Path, pki: Pki) -> None:
    """It is told who has come before it greets, and its STARTTLS, in the clear, is for nobody inside TLS to see."""
    greetings = iter([b"220-me\r\n220 ESMTP\r\n", b"554 5.3.2 not now\r\n"])

    def service(connection: socket.socket) -> None:
        header = connection.recv(16, socket.MSG_WAITALL)
        assert header.startswith(b"\r\n\r\n\0\r\nQUIT\n")
        connection.recv(int.from_bytes(header[14:], "big"), socket.MSG_WAITALL)
        connection.sendall(next(greetings))
        for line in connection.makefile("rb"):
            is_ehlo = line.lower().startswith(b"ehlo")
            connection.sendall(b"250-me\r\n250-8BITMIME\r\n250 STARTTLS\r\n" if is_ehlo else b"221 bye\r\n")

    context = pki.client_context(pki.issue("client", "app.test"))
    with serving(service) as served:
        config = terminating(pki, served.address, proxy_protocol="v2")
        with running(tmp_path / "sidecar", config) as sidecar:
            with smtplib.SMTP("localhost", sidecar.port(), timeout=20) as smtp:
                smtp.starttls(context=context)
                assert smtp.ehlo() == (250, b"me\n8BITMIME")
            smtp = smtplib.SMTP("localhost", sidecar.port(), timeout=20)
            smtp.starttls(context=context)
            assert smtp.ehlo() == (554, b"5.3.2 not now")
            smtp.close()
            assert "it greets with '554" in sidecar.failure(reason="upstream_bad_response")["detail"]


def originating(pki: Pki, port: int) -> str:
    return configs.identity(pki.issue("us", "app.test"), pki.trust) + configs.originate(
        f"localhost:{port}", starttls="smtp"
    )


def test_a_local_client_to_a_server_that_wants_certificates(tmp_path: Path, pki: Pki) -> None:
    context = pki.server_context(pki.issue("server", "localhost"))
    with (
        mail_server(context) as mailbox,
        running(tmp_path / "sidecar", originating(pki, mailbox.port)) as sidecar,
        smtplib.SMTP("localhost", sidecar.port(), timeout=20) as smtp,
    ):
        smtp.send_message(letter("in the clear"))
        assert not smtp.has_extn("starttls")
        assert subjects(mailbox) == ["in the clear"]


def test_a_remote_that_says_more_than_its_answer(tmp_path: Path, pki: Pki) -> None:
    """It, or somebody on the way, is not heard; the application is told that its server was not reached."""

    def remote(connection: socket.socket) -> None:
        for reply in (b"220 me\r\n", b"250-me\r\n250 STARTTLS\r\n", b"220 go\r\n250 injected\r\n"):
            connection.sendall(reply)
            connection.recv(1024)

    with serving(remote) as served, running(tmp_path, originating(pki, served.port)) as sidecar:
        with pytest.raises(smtplib.SMTPConnectError, match="421"), smtplib.SMTP("localhost", sidecar.port()):
            pass
        assert "it says more in the clear" in sidecar.failure(reason="upstream_tls")["detail"]


def test_a_rotation_is_proved_and_two_of_us_stand_in_a_row(tmp_path: Path) -> None:
    certs("init", tmp_path / "ca", "--name", "Dev CA")
    trust = tmp_path / "far" / "ca.crt"
    far, near = (issued(tmp_path / "ca", tmp_path / name, "--dns", "localhost", "--both") for name in ("far", "near"))
    checked = '[listener.health_check]\ninterval = "1s"\n'
    with mail_server() as mailbox:
        config = configs.identity(far, trust, poll_interval="1h")
        config += configs.terminate(f"127.0.0.1:{mailbox.port}", allow=("dns:localhost",), starttls="smtp") + checked
        with running(tmp_path / "sidecar", config) as behind:
            answer = certs("rotate", tmp_path / "far", "--socket", behind.socket_path)
            assert answer["sidecars"][0]["generation"] == 2
            behind.counts(1, "tlsidecar_connections_total", outcome="probe")
            config = configs.identity(near, trust)
            config += configs.originate(f"localhost:{behind.port()}", starttls="smtp") + checked
            with running(tmp_path / "other", config) as sidecar:
                for each in (behind, sidecar):
                    eventually(lambda each=each: each.listener()["upstreams"][0]["healthy"])  # type: ignore[misc]
                with smtplib.SMTP("localhost", sidecar.port(), timeout=20) as smtp:
                    smtp.send_message(letter("twice"))
            assert subjects(mailbox) == ["twice"]
            assert behind.refusals() == behind.failures() == []

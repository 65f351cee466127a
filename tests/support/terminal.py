"""A real terminal, by tmux: what a program draws on it, what reaches it raw, and what it leaves behind."""

from __future__ import annotations

import contextlib
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from support.waiting import eventually

_PROMPT = "at-rest$ "
# What would hide the size of the terminal, or change how a shell or the console behaves.
_UNSET = [
    word for name in ("COLUMNS", "LINES", "NO_COLOR", "ENV", "TMUX", "LC_ALL", "LC_CTYPE") for word in ("-u", name)
]
_PASTE = re.compile(r"\x1b\[\?2004[hl]")


class Terminal:
    """A shell in a tmux of its own. ``raw`` is every byte that was written to the terminal."""

    def __init__(self, folder: Path, columns: int, rows: int, env: Mapping[str, str]) -> None:
        self._socket = folder / "tmux"
        self._raw = folder / "raw"
        settings = [f"{name}={value}" for name, value in {"PS1": _PROMPT, "LANG": "C.UTF-8", **env}.items()]
        shell = shlex.join(["env", *_UNSET, *settings, "sh"])
        self._tmux(
            *("-f", "/dev/null", "-u", "new-session", "-d", "-x", str(columns), "-y", str(rows), shell),
            *(";", "set-option", "-g", "status", "off"),
            *(";", "resize-window", "-x", str(columns), "-y", str(rows)),
            *(";", "pipe-pane", f"cat >{shlex.quote(str(self._raw))}"),
        )
        eventually(lambda: self.is_at_rest)

    def _tmux(self, *words: str) -> str:
        command = ["tmux", "-S", str(self._socket), *words]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, (words, done.stderr)
        return done.stdout

    def run(self, *words: str) -> None:
        """Start a command, as if it were typed."""
        self.type(shlex.join(words) + "\n")

    def type(self, text: str) -> None:
        self._tmux("send-keys", "-l", text)

    def press(self, *keys: str) -> None:
        """Keys by their tmux names: ``Enter``, ``Escape``, ``C-q``, ``PageDown``, ``a``."""
        self._tmux("send-keys", *keys)

    def resize(self, columns: int, rows: int) -> None:
        self._tmux("resize-window", "-x", str(columns), "-y", str(rows))

    @property
    def lines(self) -> list[str]:
        """The screen as text; what lies to the right of the last character is left away."""
        return self._tmux("capture-pane", "-p").split("\n")[:-1]

    @property
    def text(self) -> str:
        return "\n".join(self.lines)

    @property
    def painted(self) -> str:
        """The screen with its escape sequences, as tmux would draw it again."""
        return self._tmux("capture-pane", "-p", "-e")

    @property
    def raw(self) -> bytes:
        return self._raw.read_bytes() if self._raw.exists() else b""

    def shows(self, *words: str, within_s: float = 45.0) -> str:
        """Wait until all of ``words`` are on the screen; the screen."""

        def look() -> str:
            text = self.text
            missing = [each for each in words if each not in text]
            assert not missing, f"not on the screen: {missing}\n{text}"
            return text

        return eventually(look, within_s)

    def shows_no(self, words: str, within_s: float = 45.0) -> None:
        def look() -> bool:
            text = self.text
            assert words not in text, f"still on the screen: {words!r}\n{text}"
            return True

        eventually(look, within_s)

    def line(self, start: str) -> str:
        """The first line of the screen that begins with ``start``, spaces aside."""
        found = [each for each in self.lines if each.strip().startswith(start)]
        assert found, f"no line begins with {start!r}\n{self.text}"
        return found[0]

    def state(self, *names: str) -> dict[str, str]:
        """tmux's own flags: ``alternate_on``, ``cursor_flag``, ``mouse_any_flag``, ``pane_title``, ..."""
        shown = self._tmux("display-message", "-p", "\t".join(f"#{{{name}}}" for name in names)).rstrip("\n")
        return dict(zip(names, shown.split("\t"), strict=True))

    @property
    def child_pid(self) -> int:
        """The program that runs in the shell."""
        shell = self.state("pane_pid")["pane_pid"]
        (child,) = Path(f"/proc/{shell}/task/{shell}/children").read_text().split()
        return int(child)

    @property
    def is_at_rest(self) -> bool:
        """Whether the shell waits for a command."""
        return [each for each in self.lines if each][-1:] == [_PROMPT.rstrip()]

    def ask(self, command: str) -> str:
        """What a shell command prints, run in this terminal."""
        answer = self._socket.with_name("answer")
        answer.unlink(missing_ok=True)
        self.type(f"clear; {command} >{answer}.new; mv {answer}.new {answer}\n")
        eventually(answer.exists)
        eventually(lambda: self.is_at_rest)
        return answer.read_text().strip()

    def pastes_in_brackets(self) -> bool:
        """Whether the last word on bracketed paste was to switch it on."""
        return _PASTE.findall(self.raw.decode(errors="replace"))[-1:] == ["\x1b[?2004h"]

    def close(self) -> None:
        with contextlib.suppress(AssertionError):  # it has ended by itself
            self._tmux("kill-server")


@contextlib.contextmanager
def terminal(columns: int = 80, rows: int = 24, **env: str) -> Iterator[Terminal]:
    """A terminal of that size, with these variables in its environment."""
    folder = Path(tempfile.mkdtemp(prefix="tty-"))  # short: the path of a socket has at most 107 characters
    shown: Terminal | None = None
    try:
        shown = Terminal(folder, columns, rows, env)
        yield shown
    except BaseException:
        if shown is not None:
            with contextlib.suppress(AssertionError):
                sys.stderr.write(f"--- the terminal\n{shown.text}\n--- the end of what was written to it\n")
            sys.stderr.write(f"{shown.raw[-2000:]!r}\n")
        raise
    finally:
        if shown is not None:
            shown.close()
        shutil.rmtree(folder, ignore_errors=True)

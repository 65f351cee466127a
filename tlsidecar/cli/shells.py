"""How bash, zsh and fish complete a word of ours: whole, as it was typed, and as it is to stand in the line then.

click's scripts ask as they do, but each takes some words apart: bash at a colon, zsh and fish after ``--option=``, and
fish a reply at a comma, so that of ``CN=web,O=Example`` it would offer ``CN=web``, which is somebody else.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Sequence
from typing import ClassVar

from click.shell_completion import (
    BashComplete,
    CompletionItem,
    FishComplete,
    ShellComplete,
    ZshComplete,
    add_completion_class,
)

_CALL = re.compile(r"    response=\$\(env COMP_WORDS=.*?\$1\)\n", re.DOTALL)
_OURS = """\
    local line="${COMP_LINE:0:COMP_POINT}"
    local cur="${line##*[[:blank:]]}"
    [[ $cur == --*=* ]] && cur="${cur#*=}"
    local breaks="${COMP_WORDBREAKS//[^:=@]/}"
    response=$(env COMP_LINE="$line" %(complete_var)s=bash_complete $1)
"""
_END = "\n    return 0\n"
_STRIP = """
    if [[ -n $breaks && $cur == *["$breaks"]* ]]; then
        COMPREPLY=("${COMPREPLY[@]#"${cur%%"${cur##*["$breaks"]}"}"}")
    fi
"""


class BashWords(BashComplete):
    """``spiffe://…`` is three words to bash, for its COMP_WORDBREAKS has a colon. The line is passed on as it was
    typed, and what bash has in its buffer already is left out of the replies."""

    source_template: ClassVar[str] = _CALL.sub(lambda _: _OURS, BashComplete.source_template, count=1).replace(
        _END, _STRIP + _END, 1
    )

    def get_completion_args(self) -> tuple[list[str], str]:
        """The arguments before the cursor, and the one at it."""
        line = os.environ.get("COMP_LINE")
        if line is None:  # a script that click made
            return super().get_completion_args()
        words = _words(line)[1:]
        if not words or line[-1:].isspace():
            return words, ""
        return words[:-1], words[-1]


def _words(line: str) -> list[str]:
    """As a shell splits it; a quote that is still open ends with the line."""
    lexer = shlex.shlex(line, posix=True)
    lexer.whitespace_split, lexer.commenters = True, ""
    words: list[str] = []
    try:
        words.extend(lexer)
    except ValueError:
        words.append(lexer.token)
    return words


IN_ZSH = (
    ("    local -a response\n", '    local -a response\n    local before=""\n'),
    (
        "    for type key descr in ${response}; do\n",
        '    [[ ${words[CURRENT]} == --*=* ]] && before="${words[CURRENT]%%%%=*}="\n'
        "    for type key descr in ${response}; do\n",
    ),
    ("            _path_files -f\n", "            [[ -n $before ]] && compset -P '*='\n            _path_files -f\n"),
    ("completions_with_descriptions -U\n", 'completions_with_descriptions -U -P "$before"\n'),
    ("compadd -U -V unsorted -a", 'compadd -U -P "$before" -V unsorted -a'),
    (
        '    %(complete_func)s "$@"\n',
        '    compdef %(complete_func)s %(prog_name)s\n    %(complete_func)s "$@"\n',
    ),
)


def _changed(template: str, changes: Sequence[tuple[str, str]]) -> str:
    """Each of them once, in that order. A later click may have another script: it is as it has it then."""
    for place, ours in changes:
        template = template.replace(place, ours, 1)
    return template


class ZshWords(ZshComplete):
    """What stands before the ``=`` of ``--identity=spiffe:`` stays; zsh would put the reply in place of all of it. The
    function that a file in fpath becomes asks the first time it is called, and is not called again: click's does
    nothing the second time."""

    source_template: ClassVar[str] = _changed(ZshComplete.source_template, IN_ZSH)


IN_FISH = (
    ('string split ","', 'string split -m 1 ","'),
    ("(commandline -t)", "(commandline -ct)"),
)


class FishWords(FishComplete):
    """A reply is cut at its first comma only, the word ends at the cursor, and a reply to ``--identity=spiffe:`` is the
    whole of the word, which is what fish compares it with."""

    source_template: ClassVar[str] = _changed(FishComplete.source_template, IN_FISH)

    def get_completions(self, args: list[str], incomplete: str) -> list[CompletionItem]:
        """As click's, behind the option that they are the value of."""
        option, equals, _ = incomplete.partition("=")
        found = super().get_completions(args, incomplete)
        if not equals or not option.startswith("--"):
            return found
        return [CompletionItem(f"{option}={item.value}", item.type, item.help) for item in found]


SHELLS: dict[str, type[ShellComplete]] = {"bash": BashWords, "zsh": ZshWords, "fish": FishWords}


def register() -> None:
    """From now on these are what completes."""
    for shell in SHELLS.values():
        add_completion_class(shell)

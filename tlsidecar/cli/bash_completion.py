"""Completion for bash, of words that bash takes apart: ``spiffe://…`` is three words to it, for its COMP_WORDBREAKS has
a colon. The line is passed on as it was typed, and what bash has in its buffer already is left out of the replies."""

from __future__ import annotations

import os
import re
import shlex
from typing import ClassVar

from click.shell_completion import BashComplete, add_completion_class

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


class WholeWords(BashComplete):
    """As click's, with the words that were typed."""

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


def register() -> None:
    """From now on it is what completes for bash."""
    add_completion_class(WholeWords)

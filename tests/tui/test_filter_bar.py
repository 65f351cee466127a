"""The field that a filter is typed in, and where what is wrong with it is shown."""

from __future__ import annotations

from textual.app import App, ComposeResult
from textual.widgets import Input

from tlsidecar.api.filter import FilterError, parse
from tlsidecar.api.filter_fields import CONNECTION_FIELDS
from tui.widgets.bar import Bar
from tui.widgets.filter_bar import FilterBar
from tui.widgets.rows import Rows


class _Bench(App[None]):
    def __init__(self) -> None:
        super().__init__()
        self.typed: list[str] = []

    def compose(self) -> ComposeResult:
        yield FilterBar("words, and field:value")
        yield Rows(id="rows")

    def on_input_changed(self, event: Input.Changed) -> None:
        self.typed.append(event.value)


def _mistake(text: str) -> FilterError:
    try:
        parse(text, CONNECTION_FIELDS)
    except FilterError as error:
        return error
    raise AssertionError("it can be read")


async def test_it_is_there_while_there_is_something_in_it_or_it_is_typed_in() -> None:
    async with _Bench().run_test(size=(60, 10)) as pilot:
        app = pilot.app
        assert isinstance(app, _Bench)
        bar, mistake = app.query_one(FilterBar), app.query_one("#mistake", Bar)
        assert not bar.display
        bar.show("", None, focus=True)
        assert (bar.display, bar.is_typed_in) == (True, True)
        bar.show("cart", None, focus=False)
        app.query_one(Rows).focus()
        await pilot.pause()
        assert (bar.display, bar.is_typed_in, bar._field.value) == (True, False, "cart")
        assert app.typed == [], "what is put there by us is no news"
        bar.show("", None, focus=False)
        await pilot.pause()
        assert not bar.display

        # A mistake stands under its place, in cells, however wide what is before it; and never beyond the edge.
        for text, column in (("cart lis:x", 9 + 5), ("\u8868\u8868 lis:x", 9 + 5), ("\x1b lis:x", 9 + 5)):
            bar.show(text, _mistake(text), focus=False)
            await pilot.pause()
            shown = mistake.render_line(0).text
            assert shown.index("^") == column
            assert '^ there is no field "lis"' in shown
        far = "x" * 200 + " lis:x"
        bar.show(far, _mistake(far), focus=False)
        await pilot.pause()
        shown = mistake.render_line(0).text
        assert shown.endswith(f"^ {_mistake(far).message} ")
        bar.show_mistake("cart", None)
        await pilot.pause()
        assert not mistake.display

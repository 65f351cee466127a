"""The report: Markdown between two marks in docs/performance.md, and the plot beside it."""

# ruff: noqa: RUF001 - written for people, with the signs people use

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from benchmarks.plot import draw
from benchmarks.readings import Reading
from benchmarks.results import KINDS, Figure, Run, is_ours, ratio, spread
from benchmarks.settings import SETTINGS
from benchmarks.targets import TARGETS
from benchmarks.variants import is_variant

BEGIN = "<!-- bench:begin -->"
END = "<!-- bench:end -->"
PLOT_NAME = "performance.svg"

TABLES = (
    ("CPU per exchange", ("exchange_64", "exchange_1", "body_1k", "body_16k", "body_1m")),
    (
        "CPU per exchange as frameworks speak",
        ("chunked_1k", "gzip_16k", "close_1k", "post_1k", "chunked_post_1k", "http10"),
    ),
    ("Messages pushed one by one; over TCP the same bytes", ("event", "frame")),
    ("CPU per call", ("h2_unary_64x1", "h2_unary_8x16", "h2_new_paths", "h2_message")),
    ("Bulk", ("h2_download", "h2_upload")),
    ("New connections", ("connection_full", "connection_own", "connection_resumed")),
    ("Bulk", ("download", "upload")),
    (
        "Latency, memory, start",
        ("latency_p50", "latency_p99", "memory_base", "memory_alone", "memory_idle", "start", "start_cpu"),
    ),
    ("Being asked and watched", ("health", "idle_cpu", "watched_cpu")),
)


def write(run: Run, document: Path) -> None:
    """Put the report of ``run`` between the marks of ``document``. Raises ValueError when it has none."""
    text = document.read_text()
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{document} has no {BEGIN} … {END}")
    document.write_text(f"{before}{BEGIN}\n{render(run)}{END}{after}")
    (document.parent / PLOT_NAME).write_text(draw(run))


def render(run: Run) -> str:
    parts = [
        _head(run),
        f"![tlsidecar beside the other proxies]({PLOT_NAME})\n",
        "### Against the targets\n",
        target_table(run),
    ]
    for setting in SETTINGS:
        for title, keys in TABLES:
            figures = [figure for key in keys if (figure := run.figure(key, setting))]
            if figures:
                parts += [f"### {setting.upper()}: {title}\n", _table(run, figures)]
    parts.append(_left_out(run))
    return "\n".join(part for part in parts if part)


def target_table(run: Run) -> str:
    """Every target, with what each single-worker variant of ours reached."""
    variants = [name for name in run.proxies() if is_ours(name) and not is_variant(name)]
    rows = []
    for target in TARGETS:
        cells = [_reading(target.read(run, variant)) for variant in variants]
        rows.append([target.measure, target.must, target.aim, *cells])
    return _markdown(["measure", "must", "aim", *variants], rows)


def _reading(reading: Reading | None) -> str:
    if reading is None:
        return "not measured"
    if reading.must is None and reading.aim is None:
        return reading.text
    if reading.must is False:  # an aim may ask less of one peer than the must does
        verdict = "**not met**"
    elif reading.aim:
        verdict = "aim met"
    elif reading.must:
        verdict = "met"
    else:
        verdict = "**not met**"
    return f"{reading.text}: {verdict}"


def _head(run: Run) -> str:
    machine = run.machine
    versions = ", ".join(f"{name} {version}" for name, version in run.versions.items())
    lines = [
        f"Made {run.made_at} on commit `{run.commit}`{' (quick)' if run.quick else ''}: {machine['processor']}, "
        f"{machine['cores']} cores, Linux {machine['kernel']}, Python {machine['python']}, "
        f"{machine['openssl_of_tlsidecar']} in tlsidecar; {versions}.",
        "As shipped: our defaults, so with an access log; the peers log the same fields, as JSON to a file, too.",
        "Median [quartiles] of the rounds; `×` is tlsidecar (the first variant) by that proxy, round by round.",
    ]
    if run.notes.get("has_neighbour"):
        lines.append(
            "CPU is counted with half a core for each proxy, the other half a busy neighbour's, so that something "
            "always waits for it; latency and start with a whole one."
        )
    rates = run.notes.get("latency_rate", {})
    if rates:
        lines.append(
            "Latency at "
            + ", ".join(f"{rate:,.0f} requests/s ({setting.upper()})" for setting, rate in rates.items())
            + "."
        )
    if connections := run.notes.get("idle_connections"):
        lines.append(f"Memory with {connections:,} idle connections.")
    return "\n".join(lines) + "\n"


def _table(run: Run, figures: list[Figure]) -> str:
    names = [name for name in run.proxies() if any(spread(figure.samples.get(name, [])) for figure in figures)]
    reference = next((name for name in names if is_ours(name)), "")
    heads = ["", *(f"{figure.kind.title}, {figure.kind.unit}" for figure in figures)]
    return _markdown(
        heads,
        (
            [f"**{name}**" if is_ours(name) else name, *(_cell(figure, name, reference) for figure in figures)]
            for name in names
        ),
    )


def _cell(figure: Figure, name: str, reference: str) -> str:
    found = spread(figure.samples.get(name, []))
    if found is None:
        return "–"
    digits = KINDS[figure.key].digits
    text = f"{found.median:,.{digits}f}"
    if found.count > 1:
        text += f" [{found.low:,.{digits}f}–{found.high:,.{digits}f}]"
    against = ratio(figure.samples.get(reference, []), figure.samples[name])
    if name != reference and against is not None and not is_ours(name) and not figure.key.startswith("latency"):
        text += f" {against.median:.2f} ×"
    return text


def _left_out(run: Run) -> str:
    if not run.left_out:
        return ""
    return "Left out: " + "; ".join(f"{name}: {why}" for name, why in run.left_out.items()) + ".\n"


def _markdown(heads: list[str], rows: Iterable[list[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |\n" for line in lines)

"""Small pictures for metadata. Drawing only: what is drawn was computed elsewhere."""

import io
from collections.abc import Mapping, Sequence


def line_chart(times_ms: Sequence[int], lines: Mapping[str, Sequence[float]], title: str, most: int = 400) -> bytes:
    """Lines over time as a small PNG (below 50 kB).

    Parameters
    ----------
    times_ms : epoch ms, ascending
    lines : label -> values, each as long as ``times_ms``
    most : points drawn of each line
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
    from matplotlib.figure import Figure

    from hydra_core.domain.intervals import utc

    step = max(1, -(-len(times_ms) // most))
    figure = Figure(figsize=(7.0, 2.6), dpi=80, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    moments = [utc(moment) for moment in times_ms[::step]]
    for label, values in lines.items():
        axes.plot(moments, list(values[::step]), linewidth=1.2, label=label)  # type: ignore[arg-type]
    locator = AutoDateLocator()
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))
    axes.set_title(title, fontsize=10, loc="left")
    axes.grid(alpha=0.3)
    if len(lines) > 1:
        axes.legend(fontsize=8)
    out = io.BytesIO()
    figure.savefig(out, format="png")
    return out.getvalue()

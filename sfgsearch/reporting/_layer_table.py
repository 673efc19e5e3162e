"""The layers of an allocation as a table for other programs."""

from __future__ import annotations

import csv
import io

from sfgsearch.allocation import Allocation


def layers_csv(allocation: Allocation) -> str:
    """Return a table with one row per layer, as comma-separated values.

    Its columns are the layer, its filters, the count of every group, and for learned allocations the mean over
    filters of every group's probability and of the entropy in nats.

    Args:
        allocation: The allocation.
    """
    is_learned = any(layer.mean_probs for layer in allocation.layers)
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    titles = ["layer", "filters", *(f"count {group}" for group in allocation.groups)]
    if is_learned:
        titles += [*(f"mean probability {group}" for group in allocation.groups), "mean entropy (nats)"]
    table.writerow(titles)
    for layer in allocation.layers:
        row: list[object] = [layer.name, layer.num_filters, *layer.counts]
        if is_learned:
            row += [f"{prob:.6g}" for prob in layer.mean_probs or [float("nan")] * len(allocation.groups)]
            row.append("" if layer.mean_entropy is None else f"{layer.mean_entropy:.6g}")
        table.writerow(row)
    return text.getvalue()

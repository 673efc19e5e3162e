"""Checks of a network's graph: that it can be followed, and computes what the network computes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from sfgsearch.errors import BackboneError
from sfgsearch.graph._nodes import origin
from sfgsearch.graph._places import are_equal, first_difference, graph_by_module, values_by_module

if TYPE_CHECKING:
    from sfgsearch.graph._trace import Trace

_GREATER = 3
"""How many pixels a side other images have more: no multiple of what networks reduce space by."""


def in_order(outputs: Any, tasks: Sequence[str] | None) -> tuple[Tensor, ...]:
    """Return the predictions of a network in the order of the tasks."""
    if isinstance(outputs, Mapping):
        return tuple(outputs[task] for task in tasks or outputs)
    return (outputs,) if isinstance(outputs, Tensor) else tuple(outputs)


def reason_of(error: Exception) -> str:
    """Return an error's message in one line."""
    return " ".join(str(error).split())[:200]


def check_runs(module: nn.Module, example: Tensor) -> None:
    """Check that the network runs at all."""
    try:
        with torch.no_grad():
            module(example)
    except BackboneError:
        raise
    except Exception as error:
        raise BackboneError(f"the network fails for images of {tuple(example.shape)}: {reason_of(error)}") from error


def check_modules(found: Trace) -> None:
    """Check that the graph is one, without graphs inside."""
    for node in found.nodes:
        if node.op == "get_attr" or (node.op == "call_function" and "HigherOrder" in type(node.target).__name__):
            raise BackboneError(
                f"{origin(node)} runs a part of the network on its own terms (autocast, no_grad or control flow inside "
                "forward), which filters cannot be followed through; move that out of forward"
            )


def check_reads(found: Trace, module: nn.Module) -> None:
    """Check that every parameter is read."""
    read = {found.state[node.name] for node in found.nodes if node.name in found.state and node.users}
    unread = [name for name, _ in module.named_parameters() if name not in read]
    if unread:
        raise BackboneError(
            f"no prediction depends on {', '.join(unread[:3])}{' and more' if unread[3:] else ''}, as far as the "
            "network's evaluation shows; remove what is not used, such as auxiliary heads"
        )


def check_values(found: Trace, network: nn.Module, example: Tensor, tasks: Sequence[str] | None) -> None:
    """Check the graph on other images than those it was found with, and another number of them."""
    generator = torch.Generator(example.device).manual_seed(0)
    images = torch.randn(example[:1].shape, generator=generator, device=example.device, dtype=example.dtype)
    images = torch.cat([images, images.flip(-1), example])
    try:
        check_graph(found, network, images, tasks)
    except RuntimeError:  # the graph is for one batch size only
        check_graph(found, network, images[: len(example)], tasks)


@torch.no_grad()
def check_graph(found: Trace, network: nn.Module, images: Tensor, tasks: Sequence[str] | None) -> tuple[Tensor, ...]:
    """Return a network's predictions, checking that its graph computes them, too.

    Raises:
        BackboneError: If it does not, with the first module that does something else.
        RuntimeError: If it cannot be run on so many images, or on images of this size.
    """
    computed = found.run(network, images)
    expected = in_order(network(images), tasks)
    if not are_equal(expected, computed):
        modules = values_by_module(network, lambda: network(images))
        place = first_difference(modules, graph_by_module(found, network, images))
        raise BackboneError(
            f"the network's graph does not compute what the network computes{place}: its forward depends on chance or "
            "on the values of images, or does something else while torch.export runs it"
        )
    return expected


@torch.no_grad()
def check_sizes(found: Trace, network: nn.Module, example: Tensor, tasks: Sequence[str] | None) -> None:
    """Check the graph on images of another size, the first one that the network takes."""
    space = example.shape[2:]
    for sides in ([side + _GREATER for side in space], [2 * side for side in space]):
        images = example.new_ones(len(example), example.shape[1], *sides).cumsum(-1).cos()
        try:
            network(images)
        except Exception:  # it may need sides of a certain multiple
            continue
        try:
            check_graph(found, network, images, tasks)
        except RuntimeError as error:
            raise BackboneError(f"the network's graph is for one size of images only: {reason_of(error)}") from error
        return

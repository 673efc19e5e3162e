"""Features: where they are in a network, and the network without what follows them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from sfgsearch.errors import BackboneError
from sfgsearch.graph import CONVOLUTIONS, evaluating
from sfgsearch.nn._paths import is_within


class Place(NamedTuple):
    """A place in a network: what a module returns, or what it reads.

    Args:
        path: The module.
        is_input: Whether it is what the module reads.
    """

    path: str
    is_input: bool = False


@contextmanager
def watching(network: nn.Module, places: Iterable[Place]) -> Iterator[dict[Place, Any]]:
    """Collect the values at places of a network while it runs in the block."""
    found: dict[Place, Any] = {}

    def keep_output(place: Place, _module: nn.Module, _inputs: Any, output: Any) -> None:
        found[place] = output

    def keep_input(place: Place, _module: nn.Module, inputs: Any) -> None:
        found[place] = inputs[0]

    handles = []
    for place in places:
        module = network.get_submodule(place.path)
        handles.append(
            module.register_forward_pre_hook(partial(keep_input, place))
            if place.is_input
            else module.register_forward_hook(partial(keep_output, place))
        )
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()


def last_map(network: nn.Module, example: Tensor) -> tuple[Place, ...]:
    """Return the last features with space in a network.

    That is what the network returns if that is a map; of a network for dense predictions that returns a mapping, what
    its last convolution reads; otherwise the last map of features whose size follows that of the images.

    Returns:
        None for what the network returns; one place otherwise.

    Raises:
        BackboneError: If it has no such features.
    """
    shapes, returned = _shapes(network, example)
    if isinstance(returned, Tensor) and returned.ndim == example.ndim and max(returned.shape[2:]) > 1:
        return ()
    if isinstance(returned, Mapping):
        convolutions = [path for path in shapes if isinstance(network.get_submodule(path), CONVOLUTIONS)]
        return (Place(convolutions[-1], is_input=True),)
    try:
        larger, _ = _shapes(network, torch.cat([example, example], -1))
    except Exception:  # networks that take one size only, whatever they raise
        larger = dict.fromkeys(shapes, ())
    maps = [path for path, shape in shapes.items() if len(shape) == example.ndim and shape[2:] != larger[path][2:]]
    if maps:
        return (Place(maps[-1]),)
    if isinstance(returned, Tensor) and returned.ndim == 2:
        return ()
    raise BackboneError(
        "the network has no features with space, as far as its modules show; name the module that returns them by cut"
    )


@torch.no_grad()
def _shapes(network: nn.Module, example: Tensor) -> tuple[dict[str, tuple[int, ...]], Any]:
    """Return the shapes of what all modules return that return a tensor, and what the network returns."""
    found: dict[str, tuple[int, ...]] = {}

    def note(path: str, _module: nn.Module, _inputs: Any, output: Any) -> None:
        found.pop(path, None)
        if isinstance(output, Tensor):
            found[path] = tuple(output.shape)

    handles = [module.register_forward_hook(partial(note, path)) for path, module in network.named_modules() if path]
    try:
        with evaluating(network):
            returned = network(example)
    finally:
        for handle in handles:
            handle.remove()
    return found, returned


class _LeftOut(nn.Module):
    """Stands for a part of a network that no feature depends on."""

    def forward(self, x: Any, *_args: Any, **_options: Any) -> Any:
        """Return what it reads."""
        return x


def leave_out_unread(network: nn.Module, places: Sequence[Place], example: Tensor) -> None:
    """Replace the modules of a network whose weights none of the features depends on.

    Raises:
        BackboneError: If the network does not run without them, or some place is not reached.
    """
    if not places:
        return
    with evaluating(network), torch.enable_grad():
        with watching(network, places) as found:
            network(example)
        missed = [place.path for place in places if not isinstance(found.get(place), Tensor)]
        if missed:
            raise BackboneError(f"the network does not run {missed[0]}, or that returns no tensor; read other features")
        wanted = sum(found[place].float().sum() for place in places)
        parameters = dict(network.named_parameters())
        gradients = torch.autograd.grad(wanted, list(parameters.values()), allow_unused=True)
    unread = {name for name, gradient in zip(parameters, gradients, strict=True) if gradient is None}
    left_out: list[str] = []
    for path, module in list(network.named_modules()):
        names = {f"{path}.{name}" for name, _ in module.named_parameters()}
        has_place = any(place.path.startswith(f"{path}.") for place in places)
        if path and names and names <= unread and not has_place and not is_within(path, left_out):
            network.set_submodule(path, _LeftOut())
            left_out.append(path)
    try:
        with torch.no_grad(), evaluating(network):
            network(example)
    except Exception as error:
        raise BackboneError(
            f"the network does not run without what follows {', '.join(place.path for place in places)}: "
            f"{' '.join(str(error).split())[:200]}; read later features"
        ) from error

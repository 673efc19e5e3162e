"""A module as a graph of operations that can be run node by node."""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn

from sfgsearch.errors import BackboneError
from sfgsearch.graph._checks import (
    check_modules,
    check_reads,
    check_runs,
    check_sizes,
    check_values,
    in_order,
    reason_of,
)
from sfgsearch.graph._inline import inline_precise_parts
from sfgsearch.graph._nodes import WRAPPED, call, only_checks
from sfgsearch.graph._writes import replace_writes


@dataclass(frozen=True)
class Trace:
    """The operations that a module runs for an image, as :func:`torch.export.export` finds them.

    Args:
        nodes: The graph's nodes, in the order in which they run.
        state: Name of the parameter or buffer that a placeholder stands for, by the placeholder's name; the first one
            where a tensor has several.
        constants: Tensors that are neither, by the placeholder's name.
        last_uses: By node, the nodes whose values nobody reads after it.
    """

    nodes: tuple[fx.Node, ...]
    state: Mapping[str, str]
    constants: Mapping[str, Tensor]
    last_uses: Mapping[fx.Node, tuple[fx.Node, ...]]

    def __deepcopy__(self, memo: dict[int, Any]) -> Trace:
        """Return itself: it never changes, and graphs are linked too deeply to be copied."""
        return self

    @property
    def outputs(self) -> tuple[fx.Node, ...]:
        """The nodes whose values the module returns."""
        return tuple(self.nodes[-1].args[0])  # type: ignore[arg-type]

    @property
    def image_shape(self) -> tuple[int | torch.SymInt, ...]:
        """(C, *space) of the images that the operations are for, with symbols for sizes that are free."""
        known = {*self.state, *self.constants}
        images = next(node for node in self.nodes if node.op == "placeholder" and node.name not in known)
        return tuple(images.meta["val"].shape[1:])

    @property
    def operations(self) -> Iterator[fx.Node]:
        """The nodes that compute something."""
        return (node for node in self.nodes if node.op == "call_function" and not only_checks(node))

    def inputs(self, module: nn.Module, images: Tensor) -> Iterator[tuple[fx.Node, Tensor]]:
        """Yield the values of all placeholders: the module's parameters and buffers, constants, and the images."""
        own = {**dict(module.named_parameters()), **dict(module.named_buffers(remove_duplicate=False))}
        for node in self.nodes:
            if node.op != "placeholder":
                continue
            if node.name in self.state:
                yield node, own[self.state[node.name]]
            elif node.name in self.constants:
                yield node, self.constants[node.name].to(images.device)
            else:
                yield node, images

    def values(self, module: nn.Module, images: Tensor) -> Iterator[tuple[fx.Node, Any]]:
        """Yield what the graph computes with the module's parameters and buffers, as in evaluation, node by node."""
        values: dict[fx.Node, Any] = dict(self.inputs(module, images))
        for node in self.operations:
            values[node] = call(node, values)
            yield node, values[node]
            for other in self.last_uses.get(node, ()):
                del values[other]

    @torch.no_grad()
    def run(self, module: nn.Module, images: Tensor) -> list[Tensor]:
        """Return the graph's predictions, in order."""
        outputs = set(self.outputs)
        found = {node: value for node, value in self.values(module, images) if node in outputs}
        return [found[output] for output in self.outputs]


class _Ordered(nn.Module):
    """Returns the predictions of a network as a tuple, in the order of the tasks."""

    def __init__(self, network: nn.Module, tasks: Sequence[str] | None) -> None:
        super().__init__()
        self.network, self._tasks = network, tasks

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        return in_order(self.network(images), self._tasks)


def trace(network: nn.Module, example: Tensor, tasks: Sequence[str] | None = None, *, any_size: bool = False) -> Trace:
    """Find the operations that a module runs, in evaluation mode, and check that they compute what it computes.

    Args:
        network: Maps images (B, C, *space) to one prediction per task, by name or in a sequence.
        example: Images of the size that it is for, at least two.
        tasks: Names of the tasks in order, where predictions have names.
        any_size: Whether the operations should fit images of other sizes, too; they do if torch can say so.

    Raises:
        BackboneError: If torch cannot export the network, its graph computes something else, or it has parameters
            that the graph does not read.
    """
    if any_size:
        try:
            return _traced(network, example, tasks, [0, *range(2, example.ndim)])
        except BackboneError:
            pass  # whatever is wrong beside the free size is found below
    return _traced(network, example, tasks, [0])


def _traced(network: nn.Module, example: Tensor, tasks: Sequence[str] | None, free: Sequence[int]) -> Trace:
    """Trace a network for images some of whose dimensions may have any size."""
    with evaluating(network):
        module = _Ordered(network, tasks)
        module.training = False
        program = _export(module, example, free)
        _drop_caches(network)
        found = _found(program, network)
        check_modules(found)
        check_reads(found, network)
        check_values(found, network, example, tasks)
        if len(free) > 1:
            check_sizes(found, network, example, tasks)
    return found


def _export(module: nn.Module, example: Tensor, free: Sequence[int]) -> torch.export.ExportedProgram:
    for name, part in module.named_modules():
        if isinstance(part, nn.RNNBase):  # torch's own message is about attributes
            raise BackboneError(
                f"filters cannot be followed through {name.removeprefix(f'{WRAPPED}.')} ({type(part).__name__}); write "
                "that part with convolutions, linear layers, norms, pools and elementwise functions"
            )
    try:
        with quiet():
            sizes = dict.fromkeys(free, torch.export.Dim.AUTO)
            return torch.export.export(module, (example,), dynamic_shapes=(sizes,), strict=False)
    except Exception as error:  # whatever the module's own code raises
        check_runs(module, example)
        raise BackboneError(
            f"torch.export cannot trace the network: {reason_of(error)}; its forward must not depend on the values of "
            "images"
        ) from error


def _found(program: torch.export.ExportedProgram, network: nn.Module) -> Trace:
    """Return the graph of an exported program, its parameters under their first names."""
    signature, first = program.graph_signature, _first_names(network)
    state = {
        placeholder: first[name.removeprefix(f"{WRAPPED}.")]
        for names in (signature.inputs_to_parameters, signature.inputs_to_buffers)
        for placeholder, name in names.items()
    }
    constants = signature.inputs_to_lifted_tensor_constants
    inline_precise_parts(program.graph_module)
    replace_writes(program.graph, state)
    nodes = tuple(program.graph.nodes)
    return Trace(nodes, state, {key: program.constants[name] for key, name in constants.items()}, _last_uses(nodes))


def _first_names(module: nn.Module) -> dict[str, str]:
    """Return for every name of a parameter or buffer the first name that the same tensor has."""
    first: dict[int, str] = {}
    named = (*module.named_parameters(remove_duplicate=False), *module.named_buffers(remove_duplicate=False))
    return {name: first.setdefault(id(tensor), name) for name, tensor in named}


@contextmanager
def quiet() -> Iterator[None]:
    """Silence what torch's exporters print and log inside, beside the errors that they raise."""
    logger = logging.getLogger("torch")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        with redirect_stderr(io.StringIO()), warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*LeafSpec", category=FutureWarning)
            warnings.filterwarnings("ignore", "The tensor attributes? .* assigned during export")  # a cache, dropped
            yield
    finally:
        logger.setLevel(level)


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Put a module into evaluation mode inside, and restore the modes of its parts."""
    modes = [(part, part.training) for part in module.modules()]
    _drop_caches(module)
    try:
        yield
    finally:
        _drop_caches(module)
        for part, mode in modes:
            part.training = mode


def _drop_caches(module: nn.Module) -> None:
    """Put a module into evaluation mode by way of training, where modules drop what they keep between evaluations."""
    module.train()
    module.eval()


def _last_uses(nodes: Sequence[fx.Node]) -> dict[fx.Node, tuple[fx.Node, ...]]:
    seen: set[fx.Node] = set()
    found: dict[fx.Node, tuple[fx.Node, ...]] = {}
    nodes = [node for node in nodes if node.op != "call_function" or not only_checks(node)]
    for node in reversed(nodes):
        fresh = [other for other in node.all_input_nodes if other not in seen]
        seen.update(fresh)
        if node.op == "call_function" and fresh:
            found[node] = tuple(fresh)
    return found

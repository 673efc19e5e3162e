import pytest

from sfgsearch._registry import Registry
from sfgsearch.backbones import backbones
from sfgsearch.errors import RegistryError, SFGSearchError
from sfgsearch.methods import manual_methods


@pytest.fixture
def registry():
    registry = Registry("part", "@parts.register('my_part')")
    registry.register("one")(1)
    return registry


def test_it_maps_names_to_parts(registry):
    assert dict(registry) == {"one": 1}
    assert len(registry) == 1
    assert "one" in registry
    assert "two" not in registry


def test_the_decorator_returns_what_it_registers(registry):
    def part():
        return 2

    assert registry.register("two")(part) is part
    assert registry["two"] is part


def test_an_unknown_name_is_explained(registry):
    with pytest.raises(RegistryError, match=r"no part is called 'two'; allowed: one \(add one with @parts.register"):
        registry["two"]


def test_a_name_is_taken_once(registry):
    with pytest.raises(RegistryError, match="part 'one' is registered already"):
        registry.register("one")
    assert registry["one"] == 1


def test_its_error_has_the_common_root():
    assert issubclass(RegistryError, SFGSearchError)
    assert issubclass(RegistryError, LookupError)


def test_what_the_design_names_is_registered():
    assert {"vgg11", "vgg_small"} <= set(backbones)
    assert {"single_task", "hard_sharing", "equal", "constant_probabilities"} <= set(manual_methods)

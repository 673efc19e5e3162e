"""A dozen models of the families that are in use are allocated, in as many filters as they have channels to choose."""

import importlib
import warnings

import pytest

from tests.models._catalogue import MODELS
from tests.models._examination import examine

FILTERS = {
    "torchvision/resnet18": 2880,
    "torchvision/vgg11_bn": 2752,
    "torchvision/mobilenet_v3_small": 3848,
    "torchvision/deeplabv3_mobilenet_v3_large": 9224,
    "timm/seresnet18": 3008,
    "timm/regnetx_002": 7160,
    "timm/ghostnet_050": 4064,
    "timm/dla34": 5056,
    "timm/nf_resnet26": 7744,
    "timm/convnext_atto": 7960,
    "timm/vit_tiny_patch16_224": 9444,
    "timm/mobilevit_xxs": 3308,
    "monai/UNet": 256,
    "monai/UNet/3d": 256,
}
BY_KEY = {model.key: model for model in MODELS}


def skip_without(library):
    """Skip where a library is missing, or built for another torch, which shows in any error."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            importlib.import_module(library)
        except Exception as error:
            pytest.skip(f"{library} cannot be imported: {str(error).splitlines()[0]}")


def test_the_catalogue_has_every_model_once():
    assert len(BY_KEY) == len(MODELS) >= 80


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("key", FILTERS)
def test_a_model_is_allocated_and_one_in_all_executions(key):
    model = BY_KEY[key]
    skip_without(model.library)
    found = examine(model)
    assert found.works, found
    assert found.filters == FILTERS[key]

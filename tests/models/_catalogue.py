"""The models, each with a small image, and what makes its trunk."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

_HEADS = ("avgpool", "flatten", "dropout", "fc", "classifier", "head")
"""Children of torchvision's models that come after the last spatial features."""


@dataclass(frozen=True)
class Model:
    """A model of a library, as a backbone.

    Args:
        library: ``"torchvision"``, ``"timm"`` or ``"monai"``.
        name: Its name there.
        shape: (C, *space) of one image, as small as the model allows.
        options: Passed to the library.
        is_dense: Whether heads are dense, instead of two classifications.
    """

    library: str
    name: str
    shape: tuple[int, ...] = (3, 64, 64)
    options: dict[str, Any] = field(default_factory=dict, hash=False)
    is_dense: bool = False

    @property
    def key(self) -> str:
        """Its name among all."""
        return f"{self.library}/{self.name}" + ("/3d" if len(self.shape) == 4 and self.library == "monai" else "")

    def backbone(self, image_shape: tuple[int, ...]) -> nn.Module:
        """Build its trunk with random weights."""
        del image_shape  # a model has one
        return _MAKERS[self.library](self)


def _torchvision(model: Model) -> nn.Module:
    models = importlib.import_module("torchvision.models")
    options = {"weights_backbone": None, **model.options} if model.is_dense else model.options
    built = models.get_model(model.name, weights=None, **options)
    if model.is_dense:
        return _Entry(built, "out")
    if hasattr(built, "heads"):  # a vision transformer pools within
        built.heads = nn.Identity()
        return built
    return nn.Sequential(*(child for name, child in built.named_children() if name not in _HEADS))


def _timm(model: Model) -> nn.Module:
    timm = importlib.import_module("timm")
    return _Features(timm.create_model(model.name, **{"num_classes": 0, "global_pool": "", **model.options}))


def _monai(model: Model) -> nn.Module:
    nets = importlib.import_module("monai.networks.nets")
    built = getattr(nets, model.name)(**model.options)
    return built if model.is_dense else nn.Sequential(built)


_MAKERS: dict[str, Callable[[Model], nn.Module]] = {"torchvision": _torchvision, "timm": _timm, "monai": _monai}


class _Entry(nn.Module):
    """One entry of what a model returns."""

    def __init__(self, model: nn.Module, key: str) -> None:
        super().__init__()
        self.model, self._key = model, key

    def forward(self, images: Tensor) -> Tensor:
        found: Tensor = self.model(images)[self._key]
        return found


class _Features(nn.Module):
    """The features of a timm model as a map (B, K, *space), or as the mean (B, K) of its patch tokens."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        features: Tensor = self.model(images)
        if features.ndim == 3:
            return features[:, int(getattr(self.model, "num_prefix_tokens", 0)) :].mean(1)
        return features.permute(0, 3, 1, 2) if getattr(self.model, "output_fmt", "NCHW") == "NHWC" else features


def _several(library: str, names: str, shape: tuple[int, ...] = (3, 64, 64), **options: Any) -> list[Model]:
    return [Model(library, name, shape, options) for name in names.split()]


def _dense(library: str, name: str, shape: tuple[int, ...], **options: Any) -> Model:
    return Model(library, name, shape, options, is_dense=True)


def _unets(dimensions: int, side: int) -> list[Model]:
    """Return MONAI's networks for dense prediction, whose 16 output channels are features."""
    shape = (1, *[side] * dimensions)
    ports: dict[str, Any] = {"spatial_dims": dimensions, "in_channels": 1, "out_channels": 16}
    levels: dict[str, Any] = {"channels": (16, 32, 64), "strides": (2, 2)}
    kernels: dict[str, Any] = {"kernel_size": [3] * 4, "strides": [1, 2, 2, 2], "upsample_kernel_size": [2] * 3}
    return [
        _dense("monai", "UNet", shape, **ports, **levels, num_res_units=2),
        _dense("monai", "BasicUNet", shape, **ports, features=(16, 16, 32, 32, 64, 16)),
        _dense("monai", "DynUNet", shape, **ports, **kernels, filters=[16, 32, 64, 64]),
        _dense("monai", "SegResNet", shape, **ports, init_filters=16, blocks_down=(1, 2, 2), blocks_up=(1, 1)),
        _dense("monai", "AttentionUnet", shape, **ports, **levels),
    ]


MODELS: tuple[Model, ...] = (
    *_several(
        "torchvision",
        """
        alexnet vgg11_bn vgg16 resnet18 resnet50 resnext50_32x4d wide_resnet50_2 densenet121 squeezenet1_1 mobilenet_v2
        mobilenet_v3_small mobilenet_v3_large mnasnet0_5 shufflenet_v2_x1_0 efficientnet_b0 efficientnet_v2_s
        regnet_x_400mf regnet_y_400mf convnext_tiny swin_t
        """,
    ),
    *_several("torchvision", "googlenet", aux_logits=False, init_weights=False),
    *_several("torchvision", "inception_v3", (3, 96, 96), aux_logits=False, init_weights=False),
    *_several("torchvision", "vit_b_16", (3, 32, 32), image_size=32),
    *_several("torchvision", "r3d_18 mc3_18 r2plus1d_18", (3, 8, 32, 32)),
    *(
        _dense("torchvision", name, (3, 64, 64), num_classes=16)
        for name in (
            *("fcn_resnet50", "deeplabv3_resnet50", "deeplabv3_mobilenet_v3_large", "lraspp_mobilenet_v3_large"),
        )
    ),
    *_several(
        "timm",
        """
        resnet18 resnet26d seresnet18 seresnext26d_32x4d ecaresnet26t skresnet18 resnest14d resnetblur18 gcresnet33ts
        res2net50_14w_8s dla34 dla60_res2net densenetblur121d vgg13_bn dpn48b xception41 selecsls42b
        cspresnet50 cspdarknet53 darknet17 ese_vovnet19b_slim rexnet_100 hgnetv2_b0 resnetv2_18 resnet50_gn
        mobilenetv1_100 mobilenetv2_100 mobilenetv3_small_100 mobilenetv3_large_100 mobilenetv4_conv_small
        efficientnet_b0 efficientnet_b0_gn efficientnet_lite0 tf_efficientnetv2_b0 mixnet_s mnasnet_small fbnetc_100
        hardcorenas_a tinynet_e lcnet_050 spnasnet_100 ghostnet_050 ghostnetv2_100 repghostnet_050 repvgg_a0
        mobileone_s0 gernet_s regnetx_002 regnety_002 hrnet_w18_small hrnet_w18
        resnetv2_50x1_bit nf_resnet26 nf_regnet_b0 eca_nfnet_l0
        convnext_atto convnextv2_atto edgenext_xx_small mobilevit_xxs mobilevitv2_050 poolformer_s12 mambaout_femto
        starnet_s050 repvit_m0_9 pvt_v2_b0 fastvit_t8 efficientvit_m0 lambda_resnet26t
        """,
    ),
    *_several(
        "timm",
        """
        vit_tiny_patch16_224 deit_tiny_patch16_224 swin_tiny_patch4_window7_224 mixer_s16_224 levit_128s
        xcit_nano_12_p16_224 botnet26t_256 coatnet_nano_rw_224
        """,
        img_size=64,
    ),
    *_several("timm", "efficientvit_b0 inception_next_atto", global_pool="avg"),
    *_several("timm", "inception_v4", (3, 96, 96)),
    *_unets(2, 32),
    *_unets(3, 32),
    *(
        _dense("monai", name, (1, 16, 16, 16), spatial_dims=3, in_channels=1, out_channels=16)
        for name in ("VNet", "HighResNet")
    ),
    *_several("monai", "DenseNet121", (3, 32, 32, 32), spatial_dims=3, in_channels=3, out_channels=16),
    *_several("monai", "ResNetFeatures", (1, 32, 32, 32), model_name="resnet10", pretrained=False),
    *_several("monai", "EfficientNetBN", (3, 64, 64), model_name="efficientnet-b0", pretrained=False, num_classes=16),
)

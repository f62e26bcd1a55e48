"""VGG16 and LPIPS weights in the layouts in which they are found."""

import pytest
import torch
from builders import small_generator
from safetensors.torch import save_file
from vgg import linear_weights, smooth_picture, vgg_weights

from portrait3d_core.checkpoints.vgg_file import read_vgg16
from portrait3d_core.errors import ModelFormatError
from portrait3d_core.optimisation.perceptual import VggLoss

FROM_THE_LPIPS_PACKAGE = 0.99897504
"""lpips.LPIPS(net="vgg") 0.1.4 with these weights, of these pictures."""
CLASSIFIER = {"classifier.0.weight": torch.zeros(4, 4), "classifier.0.bias": torch.zeros(4)}


def package():
    """The lpips package's state dict."""
    return vgg_weights("net.slice{part}.{index}") | linear_weights() | {"scaling_layer.shift": torch.zeros(1, 3, 1, 1)}


SHARED = "lins.{index}.model.1.weight"
"""Under which the package has the linear weights a second time."""
WITH_LINEAR = {
    "the lpips package's": lambda: package() | linear_weights(SHARED),
    "the same, without what it has twice": lambda: vgg_weights("net.slice{part}.{index}") | linear_weights(SHARED),
    "in the checkpoint of an autoencoder": lambda: {f"loss.perceptual_loss.{key}": value for key, value in package().items()},
    "put together by hand": lambda: vgg_weights() | linear_weights(),
}
WITHOUT_LINEAR = {
    "torchvision's": lambda: vgg_weights() | CLASSIFIER,
    "timm's": lambda: vgg_weights() | {"head.fc.weight": torch.zeros(4, 4)},
    "torchvision's convolutions alone": lambda: vgg_weights("{index}"),
    "inside a wrapper": lambda: vgg_weights("module.features.{index}"),
}


def distance(path) -> float:
    return float(VggLoss(*read_vgg16(path))(smooth_picture(0), smooth_picture(1)))


@pytest.mark.parametrize("layout", WITH_LINEAR)
def test_vgg_with_lpips_weights_gives_the_packages_number(tmp_path, layout):
    save_file(WITH_LINEAR[layout](), tmp_path / "lpips.safetensors")
    assert distance(tmp_path / "lpips.safetensors") == pytest.approx(FROM_THE_LPIPS_PACKAGE, rel=1e-5)


@pytest.mark.parametrize("layout", WITHOUT_LINEAR)
def test_vgg_alone_weighs_all_channels_the_same(tmp_path, layout):
    save_file(WITHOUT_LINEAR[layout](), tmp_path / "vgg.safetensors")
    even = {key: torch.full_like(weight, 1 / weight.shape[1]) for key, weight in linear_weights().items()}
    save_file(vgg_weights() | even, tmp_path / "even.safetensors")
    assert distance(tmp_path / "vgg.safetensors") == distance(tmp_path / "even.safetensors")


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("wrap", [lambda state: state, lambda state: {"epoch": 3, "state_dict": state}])
def test_files_of_torch_save_are_read_too(tmp_path, zipped, wrap):
    path = tmp_path / "lpips.pth"
    torch.save(wrap({key: tensor.half() for key, tensor in package().items()}), path, _use_new_zipfile_serialization=zipped)
    weights = read_vgg16(path)
    assert all(tensor.dtype == torch.float32 for pair in weights.convolutions for tensor in pair)
    assert distance(path) == pytest.approx(FROM_THE_LPIPS_PACKAGE, rel=1e-2)


REFUSED = {
    "holds LPIPS's linear weights without VGG16": linear_weights,
    "holds no VGG16": lambda: small_generator().state_dict(),
    r"features\.2\.weight is missing": lambda: without(vgg_weights("{index}"), "2.weight"),
    r"features\.28\.bias has the shape \[3\]": lambda: vgg_weights() | {"features.28.bias": torch.zeros(3)},
    r"features\.28\.bias has .* non-finite": lambda: vgg_weights() | {"features.28.bias": torch.full((512,), torch.nan)},
    r"lin4\.model\.1\.weight is missing": lambda: without(vgg_weights() | linear_weights(), "lin4.model.1.weight"),
}


def without(tensors, key):
    return {name: tensor for name, tensor in tensors.items() if name != key}


@pytest.mark.parametrize("said", REFUSED)
@pytest.mark.parametrize("ending", ["safetensors", "pth"])
def test_other_and_damaged_files_are_refused_in_a_sentence(tmp_path, said, ending):
    path = tmp_path / f"bad.{ending}"
    (save_file if ending == "safetensors" else torch.save)(REFUSED[said](), path)
    with pytest.raises(ModelFormatError, match=said) as caught:
        read_vgg16(path)
    assert path.name in caught.value.found and "VGG16" in caught.value.expected and caught.value.fix


@pytest.mark.parametrize("content", [[torch.zeros(3)], torch.zeros(3), {}, {1: torch.zeros(3)}])
def test_what_is_no_state_dict_is_refused(tmp_path, content):
    torch.save(content, tmp_path / "vgg.pth")
    with pytest.raises(ModelFormatError, match=r"vgg\.pth holds"):
        read_vgg16(tmp_path / "vgg.pth")


def test_missing_files(tmp_path):
    for name in ("none.pth", "none.safetensors"):
        with pytest.raises(ModelFormatError, match="no file"):
            read_vgg16(tmp_path / name)

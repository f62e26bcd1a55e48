"""Write one of our generators as a snapshot in the layout that the published programs write.

That layout is a plain pickle of {"G", "D", "G_ema", "D_ema", ...}. Most classes are "persistent": they are pickled as a
call of ``torch_utils.persistence._reconstruct_persistent_obj`` with the source text of their module (blank here), their
name and their attributes. Others are pickled by reference to modules that do not exist here. Both need stand-ins while
the file is written; nothing of them is left afterwards. Dictionaries are ordered and numpy has its old module names, as
in the files of 2023; some tensors say that they lie on a GPU.
"""

from __future__ import annotations

import io
import pickle
import types
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from torch import Tensor, nn

from portrait3d_core.generator.config import GeneratorConfig
from portrait3d_core.generator.generator import Generator

PERSISTENT = {
    "Generator": "TriPlaneGenerator",
    "Backbone": "Hierarchy3DAwareGenerator",
    "PyramidSynthesis": "Hierarchy3DAwareSynthesisNetwork",
    "Level3D": "Aware3DBlock",
    "Block3D": "SynthesisBlock",
    "SynthesisBlock": "SynthesisBlock",
    "SkipSynthesis": "SynthesisNetwork",
    "SynthesisLayer": "SynthesisLayer",
    "RolledLayer": "SynthesisLayer",
    "ModulatedToRGB": "ToRGBLayer",
    "RolledToRGB": "ToRGBLayer",
    "FullyConnected": "FullyConnectedLayer",
    "Mapping": "MappingNetwork",
    "SuperResolutionModule": "SuperresolutionHybrid8XDC",
    "SuperResolutionBlock": "SynthesisBlock",
}
BY_REFERENCE = {
    "DecoderModule": "training.smpl_triplane.OSGDecoder",
    "PoseBranch": "training.smpl_triplane.GPoseBranch",
    "Discriminator": "training.dual_discriminator.PoseShapeAwareDualDiscriminator",
    "DiscriminatorPoseBranch": "training.dual_discriminator.DPoseBranch",
    "renderer": "training.volumetric_rendering.renderer.ImportanceRenderer",
    "aligned_SMPL": "training.aligned_smpl.AlignedSMPL",
    "model": "smplx.body_models.SMPL",
    "vertex_joint_selector": "smplx.vertex_joint_selector.VertexJointSelector",
}
CPU_TAG, GPU_TAG = b"X\x03\0\0\0cpu", b"X\x06\0\0\0cuda:0"
RECONSTRUCT, EASY_DICT = "torch_utils.persistence._reconstruct_persistent_obj", "dnnlib.util.EasyDict"
NUMPY_SCALAR = "numpy.core.multiarray.scalar"
MODULE_SOURCE = "# the text of the module that defined the class\nraise SystemExit('embedded source was executed')\n"


class BodyPart(nn.Module):
    """Holds arrays of the body model; ``kind`` is its key in BY_REFERENCE."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind


class Discriminator(nn.Module):
    """Stands for the discriminator, of which only the layout matters."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("resample_filter", torch.ones(4, 4))
        self.out = nn.Linear(3, 2)


class OnGpu:
    """A tensor that is written as if it lay on a GPU."""

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor.detach().contiguous()

    def __reduce__(self) -> tuple:
        size, stride = tuple(self.tensor.shape), self.tensor.stride()
        return torch._utils._rebuild_tensor_v2, (GpuStorage(self.tensor), 0, size, stride, False, OrderedDict())


class GpuStorage:
    """The storage of such a tensor, as a torch stream of its own."""

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor

    def __reduce__(self) -> tuple:
        stream = io.BytesIO()
        torch.save(self.tensor._typed_storage(), stream, _use_new_zipfile_serialization=False)
        blob = stream.getvalue()
        assert blob.count(CPU_TAG) == 1
        return torch.storage._load_from_bytes, (blob.replace(CPU_TAG, GPU_TAG),)


class Call:
    """Pickled as the call of a function that need not exist."""

    def __init__(self, function: Any, *args: Any) -> None:
        self.call = function, args

    def __reduce__(self) -> tuple:
        return self.call


def write_official_pickle(
    path: str | Path,
    generator: Generator,
    *,
    body: Mapping[str, Tensor] | None = None,
    discriminator: nn.Module | None = None,
    protocol: int = 4,
) -> None:
    """Write ``generator`` as both "G" and "G_ema", of any size, up to the full 512-pixel configuration.

    body: the body model's arrays {"renderer.aligned_SMPL.model.v_template": tensor, ...}; their layout is not checked.
    discriminator: its class must be in BY_REFERENCE or PERSISTENT; a tiny stand-in if None.
    protocol: 0 to 5; the published files have 4.
    """
    published = Published()
    network = published.module(generator, {"renderer": body_module(body or {})})
    diffusion = published.module(discriminator or Discriminator())
    snapshot = {
        "training_set_kwargs": {"class_name": "training.dataset.ImageFolderDataset", "path": "x.zip", "resolution": 512},
        "G": network,
        "D": diffusion,
        "G_ema": network,
        "D_ema": diffusion,
        "augment_pipe": None,
    }
    with patch.dict("sys.modules", published.modules), Path(path).open("wb") as stream:
        pickle.dump(snapshot, stream, protocol)


def body_module(arrays: Mapping[str, Tensor]) -> BodyPart:
    """The module "renderer" that has ``arrays`` as its buffers."""
    renderer = BodyPart("renderer")
    renderer.plane_axes = OnGpu(torch.eye(3).expand(3, 3, 3))
    for name, array in arrays.items():
        _, *groups, leaf = name.split(".")
        part = renderer
        for group in groups:
            if not hasattr(part, group):
                part.add_module(group, BodyPart(group))
            part = getattr(part, group)
        part.register_buffer(leaf, array)
        if part.kind == "model":
            part.faces = np.arange(12, dtype=np.uint32).reshape(4, 3)
    return renderer


def constructor_arguments(config: GeneratorConfig) -> dict[str, Any]:
    """What the published training would have constructed such a generator with."""
    upsampler = config.superresolution
    size = upsampler.output_resolution if upsampler else config.neural_resolution
    rendering = {
        "image_resolution": size,
        "disparity_space_sampling": False,
        "clamp_mode": "softplus",
        "superresolution_module": "training.superresolution.SuperresolutionHybrid8XDC",
        "c_gen_conditioning_zero": False,
        "gpc_reg_prob": 0.7,
        "decoder_activation": "none",
        "use_torgb_raw": True,
        "use_background": True,
        "triplane_depth": config.depth,
        "c_scale": config.label_scale,
        "superresolution_noise_mode": "none",
        "density_reg": 0.0,
        "density_reg_p_dist": 0.004,
        "reg_type": "l1",
        "decoder_lr_mul": config.decoder_lr_multiplier,
        "sr_antialias": True,
        "radius_scale": 0.7,
        "depth_resolution": 48,
        "depth_resolution_importance": 48,
        "ray_start": 2.385 if config.pyramid else config.scene.ray_start,
        "ray_end": config.scene.ray_end,
        "box_warp": config.box_size,
    }
    return {
        "z_dim": config.z_dim,
        "w_dim": config.w_dim,
        "c_dim": config.label_dim,
        "img_resolution": size,
        "img_channels": 3,
        "mapping_kwargs": {"num_layers": config.mapping_layers},
        "batch_size": 4,
        "rendering_kwargs": rendering,
    }


class Published:
    """Counterparts of our modules, of empty classes under the names that the published programs use."""

    def __init__(self) -> None:
        self.modules: dict[str, types.ModuleType] = {}
        self.names = {name: self._add(name) for name in (RECONSTRUCT, EASY_DICT, NUMPY_SCALAR, *BY_REFERENCE.values())}

    def _add(self, name: str) -> type:
        module, _, qualname = name.rpartition(".")
        base = dict if name == EASY_DICT else object
        stand_in = type(qualname, (base,), {"__module__": module, "__qualname__": qualname})
        packages = module.split(".")
        for length in range(1, len(packages) + 1):
            package = ".".join(packages[:length])
            if package != "numpy":
                self.modules.setdefault(package, types.ModuleType(package))
        setattr(self.modules[module], qualname, stand_in)
        return stand_in

    def module(self, module: nn.Module, more: Mapping[str, nn.Module] | None = None) -> Any:
        """The counterpart of ``module`` and everything in it; ``more`` are further children."""
        state = self.attributes(module)
        children = {**dict(module.named_children()), **(more or {})}
        state["_modules"] = OrderedDict((name, self.module(child)) for name, child in children.items())
        kind = getattr(module, "kind", type(module).__name__)
        if kind in PERSISTENT:
            meta = {"type": "class", "version": 6, "module_src": MODULE_SOURCE, "class_name": PERSISTENT[kind]}
            return Call(self.names[RECONSTRUCT], {**meta, "state": state})
        list_or_own = nn.Sequential if isinstance(module, nn.ModuleList) else type(module)
        made_class = self.names[BY_REFERENCE[kind]] if kind in BY_REFERENCE else list_or_own
        made = made_class.__new__(made_class)
        vars(made).update(state)
        return made

    def attributes(self, module: nn.Module) -> dict[str, Any]:
        """``__dict__`` of the counterpart, without its children."""
        own = vars(module)
        state = {name: own[name] for name in vars(nn.Module())}
        state = {name: OrderedDict(part) if isinstance(part, dict) else part for name, part in state.items()}
        state |= {name: own[name] for name in ("plane_axes", "faces") if name in own}
        if type(module).__name__ == "FullyConnected":
            state |= {"weight_gain": self.scalar(np.float64(0.25)), "activation": "linear"}
        if isinstance(module, Generator):
            arguments = self.easy(constructor_arguments(module.config))
            state |= {"_init_args": (), "_init_kwargs": arguments, **arguments, "plane_shapes": {}, "_last_planes": None}
            state |= {"neural_rendering_resolution": module.config.neural_resolution}
            state |= {"avg_c": OnGpu(torch.zeros(1, module.config.label_dim))}
        return state

    def scalar(self, value: np.generic) -> Call:
        """A numpy number as numpy 1 pickles it."""
        return Call(self.names[NUMPY_SCALAR], value.dtype, value.tobytes())

    def easy(self, value: Any) -> Any:
        """``value`` with its dicts as EasyDicts."""
        return self.names[EASY_DICT]({k: self.easy(v) for k, v in value.items()}) if isinstance(value, dict) else value

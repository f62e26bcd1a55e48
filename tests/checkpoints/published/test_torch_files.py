"""Weight files of every container, written by torch itself, come back bit for bit."""

import io
import json
import pickle
import struct
import zipfile

import pytest
import torch
from builders import small_generator
from golden import FULL, needs_full
from safetensors.torch import load_file
from torch import nn

from portrait3d_core.checkpoints.published.pickles import Inert
from portrait3d_core.checkpoints.published.torch_files import module_state, network_snapshot, read_pickle_file
from portrait3d_core.errors import ModelFormatError

from .official_pickle import constructor_arguments, write_official_pickle

DTYPES = [
    *(torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.complex64, torch.complex128),
    *(torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool, torch.uint16, torch.float8_e5m2),
]
CONTAINERS = ["archive", "stream", *range(6)]
"""torch.save as it is and as it was, and pickle.dump of protocols 0 to 5."""


def written(value, container, path):
    if isinstance(container, int):
        path.write_bytes(pickle.dumps(value, container))
    else:
        torch.save(value, path, _use_new_zipfile_serialization=container == "archive")
    return path


def same_bits(a, b):
    """Equal in shape, type and every bit, also of NaNs."""
    if a.dtype != b.dtype or a.shape != b.shape:
        return False
    a, b = a.detach().contiguous().flatten(), b.detach().contiguous().flatten()
    return torch.equal(a.view(torch.uint8), b.view(torch.uint8))


class Block(nn.Module):
    """Parameters, buffers of both kinds, children, and an attribute of an unknown class."""

    def __init__(self):
        super().__init__()
        self.register_buffer("kept", torch.randn(2, 3))
        self.register_buffer("hidden", torch.randn(4), persistent=False)
        self.register_buffer("empty", None)
        self.register_parameter("none", None)
        self.weight = nn.Parameter(torch.randn(3))
        self.net = nn.Sequential(nn.Linear(3, 2), nn.Softplus(), nn.BatchNorm1d(2))
        self.twice = self.net[0]
        self.absent = None
        self.io = io.StringIO


@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_tensors_of_every_type(container, dtype, tmp_path):
    if container == "stream" and dtype in (torch.uint16, torch.float8_e5m2):
        pytest.skip("torch has no such storage in old streams")
    raw = torch.randint(0, 256, (3, 5, 16), dtype=torch.uint8)
    tensor = raw > 100 if dtype is torch.bool else raw.view(dtype)
    values = {"t": tensor, "list": [tensor[0], (tensor.clone(), "x")], "scalar": tensor[0, 0, 0], "none": tensor[:0]}
    found = read_pickle_file(written(values, container, tmp_path / "t.pt"))
    assert same_bits(found["t"], tensor) and same_bits(found["list"][1][0], tensor) and found["list"][1][1] == "x"
    assert same_bits(found["list"][0], tensor[0])
    assert same_bits(found["scalar"], tensor[0, 0, 0]) and same_bits(found["none"], tensor[:0])


@pytest.mark.parametrize("container", CONTAINERS)
def test_views_keep_their_strides(container, tmp_path):
    base = torch.randn(6, 8)
    views = [
        base.t(),
        base[1:4, ::2],
        base[:, 3],
        base[2:3].expand(5, 8),
        base.as_strided((3, 3), (2, 1), 4),
        base.view(2, 3, 8),
    ]
    found = read_pickle_file(written(views, container, tmp_path / "v.pt"))
    for tensor, view in zip(found, views):
        assert same_bits(tensor, view) and tensor.stride() == view.stride()
    if isinstance(container, str):  # torch writes a storage once; plain pickles repeat it
        assert len({tensor.untyped_storage().data_ptr() for tensor in found}) == 1
        found[0].zero_()
        assert not found[4].any()


@pytest.mark.parametrize("container", CONTAINERS)
def test_modules_give_their_state_dict(container, tmp_path):
    module = Block().eval()
    found = read_pickle_file(written({"net": module, "epoch": 3}, container, tmp_path / "m.pt"))
    assert isinstance(found["net"], Inert) and found["net"].name == f"{__name__}.Block" and found["epoch"] == 3
    state, expected = module_state(found["net"]), module.state_dict()
    assert list(state) == list(expected) and all(same_bits(state[key], expected[key]) for key in expected)


@pytest.mark.parametrize("container", CONTAINERS)
def test_training_checkpoints(container, tmp_path):
    module = Block()
    optimiser = torch.optim.Adam(module.parameters())
    module.net(torch.randn(4, 3)).sum().backward()
    optimiser.step()
    value = {"model": module.state_dict(), "optimizer": optimiser.state_dict(), "ws": nn.Parameter(torch.randn(1, 14, 8))}
    value["tagged"] = torch.randn(3)
    value["tagged"].note = "an attribute of a tensor"
    found = read_pickle_file(written(value, container, tmp_path / "c.pth"))
    assert all(same_bits(found["model"][key], tensor) for key, tensor in value["model"].items())
    assert same_bits(found["ws"], value["ws"]) and not found["ws"].requires_grad and same_bits(found["tagged"], value["tagged"])
    moments = found["optimizer"]["state"][1]
    assert same_bits(moments["exp_avg"], value["optimizer"]["state"][1]["exp_avg"])
    assert found["optimizer"]["param_groups"][0]["betas"] == (0.9, 0.999)


def test_a_state_dict_outlives_its_file(tmp_path):
    path = written({"a": torch.ones(1000)}, "archive", tmp_path / "a.pt")
    found = read_pickle_file(path)
    path.unlink()
    assert found["a"].sum() == 1000 and found["a"].data_ptr() % 16 == 0


@pytest.mark.parametrize("container", ["archive", "stream", 4])
def test_files_that_are_cut_off_are_refused(container, tmp_path):
    path = written({"a": torch.randn(50, 4), "b": [1, 2]}, container, tmp_path / "t.pt")
    content = path.read_bytes()
    for length in range(0, len(content), 37):
        path.write_bytes(content[:length])
        with pytest.raises(ModelFormatError):
            read_pickle_file(path)


def view_of(count, size, stride, offset, numel=None):
    """An archive with a storage of ``count`` floats and one view of it."""
    stream = io.BytesIO()
    torch.save(torch.zeros(count), stream)
    source = zipfile.ZipFile(stream)
    name = next(name for name in source.namelist() if name.endswith("data.pkl"))

    class Storage:
        pass

    class Writer(pickle.Pickler):
        def persistent_id(self, value):
            return ("storage", torch.FloatStorage, "0", "cpu", numel or count) if isinstance(value, Storage) else None

    class View:
        def __reduce__(self):
            return torch._utils._rebuild_tensor_v2, (Storage(), offset, size, stride, False, {})

    program, target = io.BytesIO(), io.BytesIO()
    Writer(program, 2).dump(View())
    with zipfile.ZipFile(target, "w") as archive:
        for record in source.namelist():
            archive.writestr(record, program.getvalue() if record == name else source.read(record))
    return target.getvalue()


@pytest.mark.parametrize(
    "size, stride, offset, numel",
    [
        ((11,), (1,), 0, None),
        ((2,), (1,), 9, None),
        ((2, 2), (9, 1), 0, None),
        ((2,), (2**60,), 0, None),
        ((2**60,), (0,), 0, None),
        ((2**30,), (0,), 0, None),
        ((-1,), (1,), 0, None),
        ((2,), (-1,), 5, None),
        ((2,), (1,), -1, None),
        ((2,), (1, 1), 0, None),
        ((1,) * 65, (1,) * 65, 0, None),
        ((1.0,), (1,), 0, None),
        ((1,), (1,), 0, 11),
        ((1,), (1,), 0, 2**40),
    ],
)
def test_views_beyond_their_storage_are_refused(size, stride, offset, numel, tmp_path):
    path = tmp_path / "v.pt"
    path.write_bytes(view_of(10, size, stride, offset, numel))
    with pytest.raises(ModelFormatError, match="tensor|storage|memory"):
        read_pickle_file(path)


def test_a_view_of_the_whole_storage_is_accepted(tmp_path):
    path = tmp_path / "v.pt"
    path.write_bytes(view_of(10, (5, 2), (2, 1), 0))
    assert read_pickle_file(path).shape == (5, 2)


def test_compressed_archives_and_other_zips_are_refused(tmp_path):
    path = tmp_path / "z.pt"
    for name, method in (("x/data.pkl", zipfile.ZIP_DEFLATED), ("other.txt", zipfile.ZIP_STORED)):
        with zipfile.ZipFile(path, "w", method) as archive:
            archive.writestr(name, b"N." * 100)
        with pytest.raises(ModelFormatError, match="archive"):
            read_pickle_file(path)


def test_a_stream_that_declares_too_much_is_refused_before_it_allocates(tmp_path):
    path = written(torch.zeros(4), "stream", tmp_path / "s.pt")
    content = path.read_bytes()
    declared = content.replace(b"K\x04N", b"\x8a\x06" + struct.pack("<Q", 2**40)[:6] + b"N")
    assert declared != content
    path.write_bytes(declared)
    with pytest.raises(ModelFormatError, match="block of"):
        read_pickle_file(path)


@pytest.mark.parametrize("protocol", range(6))
def test_snapshots_in_the_published_layout(protocol, tmp_path):
    generator = small_generator()
    body = {
        "renderer.shaped_smpl": torch.randn(1, 9, 3).expand(4, 9, 3),
        "renderer.face_mask": torch.rand(7) > 0.5,
        "renderer.aligned_SMPL.faces": torch.randint(0, 9, (7, 3)),
        "renderer.aligned_SMPL.model.v_template": torch.randn(9, 3),
    }
    path = tmp_path / "model.pkl"
    write_official_pickle(path, generator, body=body, protocol=protocol)
    assert path.read_bytes().count(b"cuda:0") >= 2
    networks = network_snapshot(path)
    assert set(networks) == {"G", "D", "G_ema", "D_ema"}
    published, expected = networks["G_ema"], {**generator.state_dict(), **body}
    assert published.class_name == "TriPlaneGenerator" and published.init_args == ()
    assert published.init_kwargs == constructor_arguments(generator.config)
    assert published.attributes["neural_rendering_resolution"] == generator.config.neural_resolution
    assert set(published.state) == set(expected)
    assert all(same_bits(published.state[key], expected[key]) for key in expected)
    assert networks["D"].class_name == "PoseShapeAwareDualDiscriminator" and networks["D"].init_kwargs == {}


def test_files_without_networks_are_no_snapshots(tmp_path):
    for value in ([1], {"G_ema": {}}, {"model": torch.zeros(2)}):
        with pytest.raises(ModelFormatError, match="without networks"):
            network_snapshot(written(value, 4, tmp_path / "x.pkl"))


@needs_full
def test_the_reference_snapshot_is_recovered_bit_for_bit():
    networks = network_snapshot(FULL / "official_small.pkl")
    notes = json.loads((FULL / "official_small.json").read_text(encoding="utf-8"))
    assert networks["G_ema"].init_kwargs == notes["init_kwargs"]
    for name in ("G_ema", "D_ema"):
        state, expected = networks[name].state, load_file(FULL / f"official_small_{name}.safetensors")
        assert set(state) == set(expected) and all(same_bits(state[key], expected[key]) for key in expected)

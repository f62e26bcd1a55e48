"""The packed anatomy."""

import sys

import numpy as np
import pytest

from portrait3d_core.data.people import assets
from portrait3d_core.data.people.needs import optional
from portrait3d_core.errors import MissingDependencyError, ModelFormatError


def test_the_file_that_ships_is_the_one_the_code_expects():
    data = assets.read_packed()
    assert len(data["names"]) == len(data["starts"]) - 1 == 448
    assert sum(str(name).startswith("unit/") for name in data["names"]) == 52
    assert assets.PACKED.stat().st_size < 1_000_000


def test_another_file_is_refused(tmp_path):
    raw = bytearray(assets.PACKED.read_bytes())
    raw[1000] ^= 1
    (tmp_path / "assets.npz").write_bytes(raw)
    with pytest.raises(ModelFormatError, match="checksum"):
        assets.read_packed(tmp_path / "assets.npz")
    with pytest.raises(ModelFormatError, match="missing"):
        assets.read_packed(tmp_path / "none.npz")


def test_refined_mesh_is_symmetric_and_finite():
    pytest.importorskip("scipy")
    topo = assets.topology()
    assert np.isfinite(topo.rest).all() and topo.triangles.max() == topo.vertex_count - 1
    body = topo.rest[topo.piece == assets.BODY]
    assert abs(body[:, 0].mean()) < 0.01


def test_a_missing_package_is_named_with_its_command(monkeypatch):
    monkeypatch.setitem(sys.modules, "moderngl", None)
    with pytest.raises(MissingDependencyError, match=r"pip install portrait3d\[training\]"):
        optional("moderngl")

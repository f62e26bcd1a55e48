"""Posing through the nodes, under the inference mode in which ComfyUI runs them."""

import pytest
import torch
from bodies import body_state
from builders import SMALL

from .running import few_samples, run

QUICK = dict(path="turntable", frames=1, resolution=32, pitch=0.0, background="white", fps=12.0)
ANGLES = dict(neck_nod=10.0, neck_turn=0.0, neck_tilt=0.0, head_nod=0.0, head_turn=-35.0, head_tilt=0.0)
STILL = dict.fromkeys(ANGLES, 0.0)


@pytest.fixture
def load(pack, folders):
    """Loads a generator with or without body model."""

    def loaded(extra):
        torch.manual_seed(0)
        network = pack.module("portrait3d_core.generator.generator").Generator(SMALL)
        path = folders / "models" / "portrait3d" / "tiny.safetensors"
        pack.module("portrait3d_core.checkpoints.generator_file").save_generator(network, path, extra=extra)
        return run(pack, "LoadGenerator", generator="tiny.safetensors")[0]

    return loaded


def random_portrait(pack, generator):
    return run(pack, "RandomPortrait", generator=generator, seed=1, truncation=1.0)[0]


def picture(pack, portrait):
    return run(pack, "RenderOrbit", portrait=portrait, **QUICK, options=few_samples(pack))[0]


def test_posing_shows_in_the_picture_and_can_be_reset(pack, load):
    portrait = random_portrait(pack, load(body_state()))
    (posed,) = run(pack, "PosePortrait", portrait=portrait, **ANGLES)
    (reset,) = run(pack, "PosePortrait", portrait=posed, **STILL)
    plain = picture(pack, portrait)
    assert not torch.allclose(picture(pack, posed), plain, atol=1e-3)
    assert torch.equal(picture(pack, reset), plain)
    assert portrait.body.pose is None and posed.provenance.history[-1].stage == "pose"


def test_the_body_can_come_from_another_generator(pack, load):
    portrait = random_portrait(pack, load(None))
    with pytest.raises(Exception, match="no body model.*What to do"):
        run(pack, "PosePortrait", portrait=portrait, **ANGLES)
    with pytest.raises(Exception, match="no body model.*What to do"):
        run(pack, "PosePortrait", portrait=portrait, generator=load(None), **ANGLES)
    (posed,) = run(pack, "PosePortrait", portrait=portrait, generator=load(body_state()), **ANGLES)
    assert posed.body.pose is not None


def test_wild_angles_are_limited(pack, load):
    portrait = random_portrait(pack, load(body_state()))
    (posed,) = run(pack, "PosePortrait", portrait=portrait, **{**STILL, "head_turn": 4000.0})
    assert posed.provenance.history[-1].settings["head_deg"] == (0.0, 40.0, 0.0)


def test_saving_keeps_the_pose_when_asked(pack, load):
    (posed,) = run(pack, "PosePortrait", portrait=random_portrait(pack, load(body_state())), **ANGLES)
    for kept in (False, True):
        (path,) = run(
            pack, "SavePortrait", portrait=posed, filename_prefix="portrait3d/me", half_precision=False, body_model=kept
        )
        (loaded,) = run(pack, "LoadPortrait", portrait_file=path.removeprefix("portrait3d/") + " [output]")
        assert (loaded.body is not None) is kept

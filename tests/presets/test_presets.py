"""The presets: the paper's numbers, and that each profile is its own."""

from portrait3d_core.presets import PROFILES
from portrait3d_core.presets.paper import PAPER


def test_paper_distils_with_the_papers_numbers():
    distill = PAPER.distill
    assert (distill.steps, distill.loss, distill.guidance_scale) == (2000, "sds", (100.0, 100.0))
    assert (distill.t_range, distill.t_schedule) == ((0.02, 0.4), "uniform")
    assert distill.optimiser.level_factors == ((256, 0.2), (512, 0.1))


def test_paper_refines_with_the_papers_numbers():
    refine = PAPER.refine
    assert (refine.resolution, refine.view_samples, refine.fit_samples, refine.crop) == (512, 96, 48, 256)
    assert (refine.strength, refine.edit_steps, refine.guidance_scale) == (0.2, 10, 7.5)
    assert (refine.passes, refine.pixel_loss, refine.gradient_weight, refine.background) == (19, "l2", 0.0, False)
    assert (refine.optimiser.name, refine.optimiser.learning_rate, refine.optimiser.level_factors) == ("adan", 1.0, ())


def test_every_profile_distils_refines_and_inverts_in_its_own_way():
    profiles = PROFILES.values()
    for stage in ("distill", "refine", "invert_photo"):
        assert len({getattr(profile, stage) for profile in profiles}) == len(PROFILES)

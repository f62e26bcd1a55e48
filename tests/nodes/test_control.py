"""ControlNets in a session: hints go with the views, and the user's own objects stay as they are."""

import pytest
import torch

from .fake_models import FakeControl, conditioning, fake_model, fake_vae

YAWS = torch.tensor([0.0, 90.0, 180.0])


@pytest.fixture
def diffusion_model(pack):
    return pack.module("nodes.host.diffusion_model")


@pytest.fixture
def controls(pack):
    return pack.module("nodes.host.control")


def grey(*values):
    """One plain hint picture [B, 3, 8, 8] for each value."""
    return torch.tensor(values)[:, None, None, None].expand(-1, 3, 8, 8)


def brightness(diffusion_model, texts, control, stage):
    """Mean of each view's two predictions in a session; ``stage(diffusion, prompt)`` gives the prompt."""

    def predict(diffusion):
        prompt = stage(diffusion, diffusion_model.target_prompt(texts))
        found = diffusion.predict(torch.zeros(3, 3, 8, 8), 0.5, prompt, YAWS, 1.0)
        return [half.mean(dim=(1, 2, 3)).tolist() for half in (found.conditional, found.unconditional)]

    with torch.inference_mode():
        return diffusion_model.run_with_diffusion_model(
            fake_model(), fake_vae(), texts, predict, views=3, seed=0, control=control
        )


def state(control):
    """Everything a control object holds."""
    return {name: (id(value), value) for name, value in vars(control).items()}


def test_every_view_is_predicted_with_its_own_hint(diffusion_model, controls):
    texts = {"positive": conditioning(1.0), "side": conditioning(2.0), "negative": conditioning(0.0)}
    control = controls.ViewControl(FakeControl(), "mask", 0.5, 0.0, 1.0)
    seen = brightness(
        diffusion_model, texts, control, lambda diffusion, prompt: diffusion.with_hints(prompt, grey(0.2, 0.4, 0.6))
    )
    assert seen == [pytest.approx([1.1, 2.2, 2.3]), pytest.approx([0.1, 0.2, 0.3])]


def test_hints_change_from_prediction_to_prediction(diffusion_model, controls):
    texts = {"positive": conditioning(1.0), "negative": conditioning(0.0)}
    control = controls.ViewControl(FakeControl(), "mask", 1.0, 0.0, 1.0)

    def twice(diffusion, prompt):
        diffusion.predict(torch.zeros(3, 3, 8, 8), 0.5, diffusion.with_hints(prompt, grey(0.9, 0.9, 0.9)), YAWS, 1.0)
        return diffusion.with_hints(prompt, grey(0.1, 0.2, 0.3))

    assert brightness(diffusion_model, texts, control, twice)[1] == pytest.approx([0.1, 0.2, 0.3])


def test_a_hint_that_stays_is_prepared_once(controls):
    control = controls.ViewControl(FakeControl(), "mask", 1.0, 0.0, 1.0)
    texts = control.attach({"positive": conditioning(1.0)}, None)
    link = texts["positive"][0][1]["control"]
    control.show(grey(0.5))
    link.cond_hint = "prepared"
    control.show(grey(0.5))
    assert link.cond_hint == "prepared"
    control.show(grey(0.6))
    assert link.cond_hint is None


def test_strength_and_range_reach_the_control_net(controls):
    control = controls.ViewControl(FakeControl(), "depth", 0.7, 0.1, 0.9)
    texts = control.attach({"positive": conditioning(1.0), "negative": conditioning(0.0)}, None)
    link, other = (texts[name][0][1]["control"] for name in ("positive", "negative"))
    assert link is other, "different objects cannot be predicted in one batch"
    assert (link.strength, link.range) == (0.7, (0.1, 0.9))


def test_control_nets_of_the_conditionings_still_act_beside_it(diffusion_model, controls):
    own = FakeControl(grey(0.1))
    texts = {"positive": conditioning(1.0, control=own), "negative": conditioning(0.0, control=own)}
    assert brightness(diffusion_model, texts, None, lambda diffusion, prompt: prompt)[0] == pytest.approx([1.1] * 3)
    control = controls.ViewControl(FakeControl(), "mask", 1.0, 0.0, 1.0)
    seen = brightness(
        diffusion_model, texts, control, lambda diffusion, prompt: diffusion.with_hints(prompt, grey(0.2, 0.3, 0.4))
    )
    assert seen == [pytest.approx([1.3, 1.4, 1.5]), pytest.approx([0.3, 0.4, 0.5])]


def test_one_that_the_simple_apply_node_put_on_the_positive_serves_all(controls):
    own = FakeControl(grey(0.1))
    texts = {"positive": conditioning(1.0, control=own, control_apply_to_uncond=True), "negative": conditioning(0.0)}
    control = controls.ViewControl(FakeControl(), "mask", 1.0, 0.0, 1.0)
    attached = control.attach(texts, None)
    assert attached["negative"][0][1]["control"].previous_controlnet is own


def test_the_users_objects_are_never_changed(diffusion_model, controls):
    net, first, second = FakeControl(), FakeControl(grey(0.1)), FakeControl(grey(0.2))
    second.set_previous_controlnet(first)
    texts = {"positive": conditioning(1.0, control=second), "negative": conditioning(0.0, control=second)}
    options = [dict(texts[name][0][1]) for name in texts]
    before = [state(control) for control in (net, first, second)]
    control = controls.ViewControl(net, "mask", 0.5, 0.0, 1.0)
    seen = brightness(
        diffusion_model, texts, control, lambda diffusion, prompt: diffusion.with_hints(prompt, grey(0.2, 0.2, 0.2))
    )
    assert seen[0] == pytest.approx([1.4] * 3), "the whole chain acted"
    assert before == [state(control) for control in (net, first, second)]
    assert options == [texts[name][0][1] for name in texts]


def test_copies_keep_who_shares_a_control_net_with_whom(controls):
    first, second = FakeControl(), FakeControl()
    second.set_previous_controlnet(first)
    texts = {"positive": conditioning(1, control=second), "negative": conditioning(0, control=second), "side": conditioning(2)}
    copies = controls.private_controls({**texts, "back": conditioning(3, control=first)})
    positive, negative, back = (copies[name][0][1]["control"] for name in ("positive", "negative", "back"))
    assert positive is negative and positive.previous_controlnet is back
    assert positive is not second and back is not first
    assert "control" not in copies["side"][0][1]


def test_hints_without_a_control_net_are_refused(diffusion_model):
    texts = {"positive": conditioning(1.0), "negative": conditioning(0.0)}
    with pytest.raises(Exception, match="no ControlNet"):
        brightness(diffusion_model, texts, None, lambda diffusion, prompt: diffusion.with_hints(prompt, grey(0.2, 0.2, 0.2)))


def test_an_inpainting_control_net_is_refused(controls):
    net = FakeControl()
    net.concat_mask = True
    with pytest.raises(Exception, match="inpainting"):
        controls.ViewControl(net, "depth", 1.0, 0.0, 1.0)

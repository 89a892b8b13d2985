"""Many seeds in one program are what each of them would be alone."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import reference
from attest.experiments import Arm
from attest.measuring import GROUP, ArmError, run_arm
from attest.training import Seeds


def classifier():
    return nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 2))


def sample(*shape):
    return lambda generator: torch.randn((*shape, 3), generator=generator)


def loss(model, x):
    return nn.functional.cross_entropy(model(x), (x.sum(-1) > 0).long())


def trained(numbers, steps=30):
    seeds = Seeds(numbers)
    stack = seeds.build(classifier)
    return stack, stack.fit(loss, [seeds.draw(sample(steps, 16))], rate=1e-2)


def test_a_stack_trains_as_a_loop_over_seeds_does():
    numbers = (3, 4, 5)
    stack, losses = trained(numbers)
    assert bool((losses[:, -5:].mean(1) < losses[:, :5].mean(1)).all())
    for slot, model in enumerate(stack.models()):
        torch.manual_seed(numbers[slot])
        alone = classifier()
        optimiser = torch.optim.Adam(alone.parameters(), lr=1e-2)
        for batch in Seeds(numbers[slot : slot + 1]).draw(sample(30, 16))[0]:
            optimiser.zero_grad()
            loss(alone, batch).backward()
            optimiser.step()
        for one, other in zip(model.parameters(), alone.parameters(), strict=True):
            torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-3)


def test_a_seed_does_not_depend_on_which_others_run_beside_it():
    first, first_losses = trained((0, 1, 2, 3, 4, 5))
    second, second_losses = trained((9, 8, 2, 7, 6, 5))
    for one, other in ((first_losses, second_losses), *pairs_of(first, second)):
        assert torch.equal(one[2], other[2])
        assert torch.equal(one[5], other[5])
        assert not torch.equal(one[0], other[0])


def pairs_of(first, second):
    return [(first.parameters[name], second.parameters[name]) for name in first.parameters]


def test_groups_of_one_width_give_a_seed_one_result():
    def measure(library, seeds, **sizes):
        stack = seeds.build(lambda: library.Encoder(4, 2, 8, 1))

        def wide(model, x):
            return model(x).square().mean()

        x = seeds.draw(lambda generator: torch.randn(5, 2, 3, 4, generator=generator))
        return {"loss": stack.fit(wide, [x], rate=0.1)}

    arm = Arm("groups", measure)
    together = run_arm(arm, range(GROUP))["loss"]
    assert run_arm(arm, [GROUP - 1])["loss"] == together[-1:]


def test_seeds_draw_different_data_and_the_same_again():
    one, other = Seeds((0, 1)), Seeds((1, 2))
    assert torch.equal(one.draw(sample(4))[1], other.draw(sample(4))[0])
    assert not torch.equal(one.draw(sample(4))[0], one.draw(sample(4))[1])
    assert not torch.equal(one.draw(sample(4)), one.draw(sample(4), stream=1))


def test_methods_of_a_model_can_be_trained_through():
    seeds = Seeds((0, 1))
    stack = seeds.build(lambda: reference.Seq2Seq(3, 4, 5, 6))

    def one_step(model, source):
        _, state = model.encode(source)
        return model.step(source[:, 0], state)[0].square().mean()

    source = seeds.draw(lambda generator: torch.randint(3, (20, 2, 3), generator=generator))
    losses = stack.fit(one_step, [source], rate=0.05)
    assert bool((losses[:, -1] < losses[:, 0]).all())


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (torch.tensor([1.0, float("nan")]), "not finite"),
        (torch.ones(3), "shape"),
    ],
)
def test_what_an_arm_gives_is_checked(given, message):
    with pytest.raises(ArmError, match=message):
        run_arm(Arm("odd", lambda library, seeds: {"x": given}), (0, 1), reduced=True)

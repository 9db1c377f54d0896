"""Rounding by hand, and what holds of every weight: what is stored is what training fakes and a kernel multiplies."""

from typing import get_args

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from objectives.compression.quantization import (
    LIMITS,
    ActivationRange,
    faked_weight,
    observed_range,
    pack,
    quantize_weight,
    unpack,
)
from objectives.compression.settings import Clipping

FORMS = [(8, 0), (4, 0), (4, 5), (4, 32)]  # (bits, group size)
# of the largest value of a row; 4e-7 is below what 16 bits can scale, 0 is a unit that does nothing
MAGNITUDES = (0.0, 4e-7, 1e-3, 0.05, 1.0, 30.0)


@st.composite
def weights(draw: st.DrawFn) -> torch.Tensor:
    """(rows, columns) with rows of different magnitudes, some with outliers."""
    rows, columns, seed = draw(st.integers(1, 6)), draw(st.integers(1, 70)), draw(st.integers(0, 10_000))
    random = np.random.default_rng(seed)
    matrix = random.standard_normal((rows, columns)) ** draw(st.sampled_from([1, 3]))
    matrix *= random.choice(MAGNITUDES, size=(rows, 1))
    return torch.tensor(matrix, dtype=torch.float32)


def step_of(quantized: object, weight: torch.Tensor) -> torch.Tensor:
    """(rows, columns): distance of two neighbouring values."""
    scale = quantized.scale.float()[:, None]
    if quantized.multipliers is None:
        return scale.expand_as(weight)
    spread = quantized.multipliers.repeat_interleave(quantized.group_size, dim=1)
    return scale * spread[:, : weight.shape[1]]


def test_a_row_by_hand_in_8_bits() -> None:
    quantized = quantize_weight(torch.tensor([[0.5, -1.27, 0.004, 0.006, 0.0]]), 8)
    scale = float(np.float16(0.01))  # 1.27 / 127
    assert quantized.scale.tolist() == [scale]
    assert quantized.scale.dtype == torch.float16
    assert quantized.codes.tolist() == [[50, -127, 0, 1, 0]]
    assert quantized.codes.dtype == torch.int8
    torch.testing.assert_close(quantized.values, torch.tensor([[50 * scale, -127 * scale, 0.0, scale, 0.0]]))


def test_each_row_has_its_own_scale_in_4_bits() -> None:
    quantized = quantize_weight(torch.tensor([[7.0, -3.4, 1.0], [0.07, 0.034, -0.06]]), 4)
    assert quantized.codes.tolist() == [[7, -3, 1], [7, 3, -6]]
    assert quantized.scale.tolist() == [1.0, float(np.float16(0.01))]


def test_groups_by_hand() -> None:
    """112 is the largest: the row's unit is 112 / 7 / 16 = 1, and a group takes the smallest multiple that holds it."""
    row = torch.tensor([[112.0, -50.0, 13.0, -14.0, 14.5, 7.0, 3.0]])
    quantized = quantize_weight(row, 4, group_size=2)
    assert quantized.scale.tolist() == [1.0]
    assert quantized.multipliers is not None
    assert quantized.multipliers.tolist() == [[16, 2, 3, 1]]  # 14 / 7 = 2 holds 14 exactly; the last group is short
    assert quantized.codes.tolist() == [[7, -3, 6, -7, 5, 2, 3]]  # 13 / 2 = 6.5 goes to the even 6
    assert quantized.integers.tolist() == [[112, -48, 12, -14, 15, 6, 3]]
    assert torch.equal(quantized.values, torch.tensor([[112.0, -48.0, 12.0, -14.0, 15.0, 6.0, 3.0]]))


def test_clipping_gives_up_an_outlier_for_the_rest_of_the_row() -> None:
    row = torch.cat([torch.full((100,), 0.5), torch.full((100,), -0.5), torch.tensor([1.0])])[None]
    plain, clipped = quantize_weight(row, 4), quantize_weight(row, 4, clipping="mse")
    assert clipped.scale < plain.scale
    errors = {}  # scale → squared error; from 100 to 50 % of the largest value in steps of 5 %
    for share in np.arange(1.0, 0.49, -0.05):
        scale = float(np.float16(np.float32(plain.scale.item()) * share))
        values = torch.clamp((row / scale).round(), -7, 7) * scale
        errors[scale] = (values - row).square().sum().item()
    assert errors[clipped.scale.item()] == pytest.approx(min(errors.values()))


@given(st.lists(st.integers(-8, 7), max_size=33))
def test_two_codes_a_byte(codes: list[int]) -> None:
    packed = pack(torch.tensor(codes, dtype=torch.int8))
    assert packed.dtype == torch.uint8
    assert len(packed) == (len(codes) + 1) // 2
    unpacked = unpack(packed, (len(codes),))
    assert unpacked.dtype == torch.int8
    assert unpacked.tolist() == codes


def test_the_first_code_is_in_the_lower_half_and_shapes_are_kept() -> None:
    assert pack(torch.tensor([[1, -1], [-8, 7], [3, 0]], dtype=torch.int8)).tolist() == [0xF1, 0x78, 0x03]
    assert unpack(torch.tensor([0xF1, 0x78, 0x03], dtype=torch.uint8), (3, 2)).tolist() == [[1, -1], [-8, 7], [3, 0]]


@settings(max_examples=100, deadline=None)
@given(weights(), st.sampled_from(FORMS), st.sampled_from(get_args(Clipping)))
def test_codes_scales_and_integers_fit_their_types(
    weight: torch.Tensor, form: tuple[int, int], clipping: Clipping
) -> None:
    bits, group_size = form
    quantized = quantize_weight(weight, bits, group_size, clipping)
    assert quantized.codes.abs().max() <= LIMITS[bits]
    assert quantized.scale.shape == (len(weight),)
    assert (quantized.scale > 0).all()
    exact = quantized.codes.int()
    if group_size:
        assert quantized.multipliers is not None
        assert quantized.multipliers.shape == (len(weight), -(-weight.shape[1] // group_size))
        assert quantized.multipliers.min() >= 1
        assert quantized.multipliers.max() <= 16
        exact = exact * quantized.multipliers.int().repeat_interleave(group_size, dim=1)[:, : weight.shape[1]]
    assert quantized.integers.dtype == torch.int8
    assert torch.equal(quantized.integers.int(), exact)  # nothing wrapped around
    torch.testing.assert_close(quantized.values, exact * quantized.scale.float()[:, None], rtol=0, atol=0)


@settings(max_examples=100, deadline=None)
@given(weights(), st.sampled_from(FORMS))
def test_without_clipping_no_value_moves_by_more_than_half_a_step(weight: torch.Tensor, form: tuple[int, int]) -> None:
    quantized = quantize_weight(weight, *form)
    step = step_of(quantized, weight)
    # a scale rounded down to 16 bits clips the largest value of a row by 127 / 2048 of a step at most
    assert ((weight - quantized.values).abs() <= step * 0.5001 + weight.abs() * 2**-11).all()


@settings(max_examples=100, deadline=None)
@given(weights(), st.sampled_from([8, 4]))
def test_what_was_rounded_stays_as_it_is(weight: torch.Tensor, bits: int) -> None:
    once = quantize_weight(weight, bits).values
    assert torch.equal(quantize_weight(once, bits).values, once)


@settings(max_examples=100, deadline=None)
@given(weights(), st.sampled_from(FORMS))
def test_searching_the_clipping_never_makes_a_row_worse(weight: torch.Tensor, form: tuple[int, int]) -> None:
    plain, searched = quantize_weight(weight, *form), quantize_weight(weight, *form, clipping="mse")
    errors = [(one.values.double() - weight.double()).square().sum(1) for one in (plain, searched)]
    assert (errors[1] <= errors[0] * (1 + 1e-5) + 1e-20).all()


@pytest.mark.parametrize("clipping", ["none", "mse"])
@pytest.mark.parametrize("group_size", [0, 2])
def test_no_scale_is_too_small_for_16_bits(group_size: int, clipping: Clipping) -> None:
    """Numbers below 2^-14 lose digits in 16 bits, and a share of the smallest scale would be one."""
    weight = torch.tensor([[1e-6, -2e-6, 0.0], [0.0, 0.0, 0.0], [7e-4, 6e-4, -3e-4]])
    quantized = quantize_weight(weight, 4, group_size, clipping)
    assert quantized.scale.min() >= 2.0**-14
    assert (quantized.values - weight).abs().max() <= 2.0**-14


@settings(max_examples=100, deadline=None)
@given(weights(), st.sampled_from(FORMS), st.sampled_from(get_args(Clipping)))
def test_training_fakes_exactly_what_is_stored(weight: torch.Tensor, form: tuple[int, int], clipping: Clipping) -> None:
    learnt = weight.clone().requires_grad_()
    faked = faked_weight(learnt, *form, clipping)
    assert torch.equal(faked, quantize_weight(weight, *form, clipping).values)
    arriving = torch.randn_like(weight)
    faked.backward(arriving)
    assert learnt.grad is not None
    assert torch.equal(learnt.grad, arriving)


def test_what_is_faked_is_exact_even_where_most_of_a_weight_is_clipped() -> None:
    """With 1000 values to fit, groups clip an outlier to less than half of itself."""
    random = np.random.default_rng(0)
    weight = torch.tensor(random.uniform(-7, 7, (16, 1000)), dtype=torch.float32)
    weight[:, 0], weight[:, -1] = torch.linspace(18, 20, 16), 112.0
    weight *= 0.0137
    stored = quantize_weight(weight, 4, 999, "mse").values
    assert (stored[:, 0] < weight[:, 0] / 2).all()
    assert torch.equal(faked_weight(weight, 4, 999, "mse"), stored)


def test_a_matrix_of_one_column_has_a_scale_for_each_row() -> None:
    quantized = quantize_weight(torch.tensor([[1.27], [-12.7], [0.0]]), 8)
    assert quantized.codes.tolist() == [[127], [-127], [0]]
    assert quantized.scale.shape == (3,)


def test_groups_may_be_longer_than_a_row() -> None:
    row = torch.tensor([[1.0, -0.5, 0.25]])
    assert torch.equal(quantize_weight(row, 4, group_size=64).codes, quantize_weight(row, 4).codes)


def test_an_activation_by_hand() -> None:
    entering = ActivationRange(-1.0, 4.1)  # a step of 0.02 with 0 at code 50
    assert entering.step == pytest.approx(0.02)
    assert entering.zero_point == 50
    seen = entering.rounded(torch.tensor([0.0, 0.011, 0.029, -0.5, -3.0, 9.0]))
    torch.testing.assert_close(seen, torch.tensor([0.0, 0.02, 0.02, -0.5, -1.0, 4.1]))


@given(st.floats(-1e3, 0, width=32), st.floats(0, 1e3, width=32), st.integers(0, 1000))
@settings(deadline=None)
def test_activations_keep_0_and_move_by_half_a_step_at_most(low: float, high: float, seed: int) -> None:
    entering = observed_range(low, high)
    random = np.random.default_rng(seed)
    values = torch.tensor(random.uniform(2 * low - 1, 2 * high + 1, 50), dtype=torch.float32)
    seen = entering.rounded(values)
    assert entering.rounded(torch.zeros(1)).item() == 0.0
    assert 0 <= entering.zero_point <= 255
    # the ends move to the next of 256 values with 0 among them
    assert ((seen - values.clamp(low, high)).abs() <= 0.501 * entering.step + 1e-6 * max(-low, high)).all()
    assert len(seen.unique()) <= 256
    assert torch.equal(entering.rounded(seen), seen)


def test_gradients_pass_where_nothing_was_clipped() -> None:
    entering = ActivationRange(-1.0, 4.1)
    values = torch.tensor([-3.0, -0.983, 0.0, 0.011, 4.05, 9.0])
    learnt = values.clone().requires_grad_()
    seen = entering.rounded(learnt)
    assert torch.equal(seen, entering.rounded(values))
    (seen * torch.arange(1.0, 7.0)).sum().backward()
    assert learnt.grad is not None
    assert learnt.grad.tolist() == [0.0, 2.0, 3.0, 4.0, 5.0, 0.0]


@pytest.mark.parametrize(
    ("seen", "held"), [((0.2, 3.0), (0.0, 3.0)), ((-3.0, -1.0), (-3.0, 0.0)), ((-1.0, 2.0), (-1.0, 2.0))]
)
def test_a_range_holds_what_was_observed_and_0(seen: tuple[float, float], held: tuple[float, float]) -> None:
    assert observed_range(*seen) == ActivationRange(*held)

"""Structured pruning: which units go, that what is left says what the masked model says, and the paper's Table 1."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from objectives.backends.pyannote import Model, PyanNet
from objectives.cache.assets import fetch
from objectives.compression.compressor import save_checkpoint
from objectives.compression.pruning import (
    checkpoint_of,
    kept_units,
    rebuild,
    schedule,
    units_kept,
    units_to_keep,
)
from objectives.errors import ModelError
from objectives.models.segmentation import load_segmentation, parameter_count
from objectives.operating_point import UNPRUNED, Pruning, Structure
from tests.support.networks import prune_once
from tests.support.networks import small_network as network

MIB = 2**20
ITERATIONS = 4
SHORT = 16_000  # samples: SincNet's filters are as large as ever, what is tested comes after them


@pytest.fixture(scope="module")
def base() -> dict[str, Any]:
    return torch.load(fetch("segmentation-3.0"), map_location="cpu", weights_only=False)


@pytest.fixture(scope="module")
def real() -> PyanNet:
    return load_segmentation(fetch("segmentation-3.0"))


def pruned(whole: PyanNet, structure: Structure, ratio: float) -> PyanNet:
    for sizes in schedule(Pruning(structure, ratio), whole, ITERATIONS):
        whole = prune_once(whole, **sizes)
    return whole


@pytest.mark.parametrize(
    ("ratio", "kept"),
    [
        (0.2, (122, 116, 110, 104)),
        (0.4, (115, 103, 93, 84)),
        (0.6, (109, 93, 79, 67)),
        (0.8, (102, 82, 66, 53)),
    ],
)
def test_the_papers_ratios_leave_the_papers_units(ratio: float, kept: tuple[int, ...]) -> None:
    assert units_kept(128, ratio, 4) == kept


@pytest.mark.parametrize(
    ("total", "ratio", "iterations", "kept"),
    [
        (110, 0.2, 4, (104, 99, 94, 89)),  # 5.5 goes up to 6
        (15, 0.7, 1, (4,)),  # 10.5 goes up to 11; 15 · 0.7 in floating point is below it
        (50, 0.07, 1, (46,)),  # 3.5 goes up to 4; 50 · 0.07 in floating point is above it
        (10, 0.15000000000000002, 1, (8,)),  # what 0.05 + 2 · 0.05 is in floating point
        (10, 0.15, 1, (8,)),
        (128, 0.95, 4, (98, 75, 57, 43)),  # of 30.4, 23.275, 17.8125, 13.5375
        (1, 0.95, 1, (1,)),
        (2, 0.95, 1, (1,)),
        (2, 0.95, 4, (2, 2, 2, 2)),  # 0.475 of a unit goes down to none
    ],
)
def test_what_is_removed_is_rounded_half_up_and_one_stays(
    total: int, ratio: float, iterations: int, kept: tuple[int, ...]
) -> None:
    assert units_kept(total, ratio, iterations) == kept


@given(st.integers(1, 1024), st.integers(1, 19), st.integers(1, 8))
def test_units_only_fall_and_by_no_more_than_the_share(total: int, twentieths: int, iterations: int) -> None:
    ratio = twentieths / 20
    before = total
    for kept in units_kept(total, ratio, iterations):
        assert 1 <= kept <= before
        assert before - kept <= before * ratio / iterations + 0.5 + 1e-9
        before = kept


def test_a_structure_has_its_schedule(real: PyanNet) -> None:
    assert schedule(UNPRUNED, real, 4) == ()
    assert [size["hidden"] for size in schedule(Pruning("hidden", 0.4), real, 4)] == [115, 103, 93, 84]
    assert {"linear" in size for size in schedule(Pruning("hidden", 0.4), real, 4)} == {False}
    assert schedule(Pruning("linear", 0.4), real, 1) == ({"linear": 77},)
    assert schedule(Pruning("both", 0.4), real, 2)[-1] == {"hidden": 82, "linear": 82}


def squared_norm_of_hidden_unit(state: dict[str, torch.Tensor], layers: int, layer: int, unit: int) -> float:
    """By the documentation of torch.nn.LSTM: four gates stacked in rows, two directions side by side."""
    total = 0.0
    units = state["lstm.weight_hh_l0"].shape[1]
    rows = [gate * units + unit for gate in range(4)]
    for direction in ("", "_reverse"):
        recurrent = state[f"lstm.weight_hh_l{layer}{direction}"]
        total += float(state[f"lstm.weight_ih_l{layer}{direction}"][rows].square().sum())
        total += float(recurrent[rows].square().sum())
        total += sum(float(recurrent[row, unit] ** 2) for row in range(4 * units) if row not in rows)
        for bias in ("bias_ih", "bias_hh"):
            total += float(state[f"lstm.{bias}_l{layer}{direction}"][rows].square().sum())
    following = (
        ["linear.0.weight"]
        if layer == layers - 1
        else [f"lstm.weight_ih_l{layer + 1}{direction}" for direction in ("", "_reverse")]
    )
    return total + sum(float(state[name][:, [unit, units + unit]].square().sum()) for name in following)


@pytest.mark.parametrize("layer", [0, 1])
def test_hidden_units_are_ranked_by_the_norm_of_all_their_parameters(layer: int) -> None:
    whole = network().double()
    norms = [squared_norm_of_hidden_unit(whole.state_dict(), 2, layer, unit) for unit in range(6)]
    ranking = sorted(range(6), key=lambda unit: -norms[unit])
    for wanted in range(1, 7):
        kept = units_to_keep(whole, hidden=wanted)
        assert kept[f"lstm.{layer}"].tolist() == sorted(ranking[:wanted])
        assert set(kept) == {"lstm.0", "lstm.1"}


def test_linear_outputs_are_ranked_by_row_bias_and_next_column() -> None:
    whole = network().double()
    state = whole.state_dict()
    for layer, following in (("linear.0", "linear.1"), ("linear.1", "classifier")):
        norms = (
            state[f"{layer}.weight"].square().sum(1)
            + state[f"{layer}.bias"].square()
            + state[f"{following}.weight"].square().sum(0)
        )
        assert units_to_keep(whole, linear=2)[layer].tolist() == sorted(norms.argsort(descending=True)[:2].tolist())


def test_the_diagonal_of_the_recurrent_weights_counts_once() -> None:
    """Unit 0 has 2 on it and nothing else (norm² 4, or 8 if counted twice), unit 1 a bias of 2.5 (6.25)."""
    whole = network(hidden=2, layers=1)
    with torch.no_grad():
        for name, value in whole.named_parameters():
            if not name.startswith("sincnet"):
                value.zero_()
        whole.lstm.weight_hh_l0[0, 0] = 2.0
        whole.lstm.bias_ih_l0[1] = 2.5
    assert units_to_keep(whole, hidden=1)["lstm.0"].tolist() == [1]


def test_of_equal_units_the_first_stay() -> None:
    whole = network(hidden=7, width=7)
    with torch.no_grad():
        for name, value in whole.named_parameters():
            if not name.startswith("sincnet"):
                value.fill_(0.5)
    kept = units_to_keep(whole, hidden=4, linear=3)
    assert {layer: units.tolist() for layer, units in kept.items()} == {
        "lstm.0": [0, 1, 2, 3],
        "lstm.1": [0, 1, 2, 3],
        "linear.0": [0, 1, 2],
        "linear.1": [0, 1, 2],
    }


def masked(whole: PyanNet, kept: dict[str, torch.Tensor]) -> PyanNet:
    """The network in its full size, all parameters that write a unit which is not kept, or read it, set to zero."""
    mask = copy.deepcopy(whole)
    state = dict(mask.named_parameters())
    with torch.no_grad():
        for layer in range(mask.lstm.num_layers):
            units = mask.lstm.hidden_size
            gone = [unit for unit in range(units) if unit not in kept.get(f"lstm.{layer}", torch.arange(units))]
            for unit in gone:
                for direction in ("", "_reverse"):
                    for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
                        state[f"lstm.{name}_l{layer}{direction}"][unit::units] = 0.0
                    state[f"lstm.weight_hh_l{layer}{direction}"][:, unit] = 0.0
        for layer in range(whole.hparams["linear"]["num_layers"]):
            units = len(state[f"linear.{layer}.bias"])
            for unit in range(units):
                if unit not in kept.get(f"linear.{layer}", torch.arange(units)):
                    state[f"linear.{layer}.weight"][unit] = 0.0
                    state[f"linear.{layer}.bias"][unit] = 0.0
    return mask


def largest_difference(one: PyanNet, other: PyanNet, audio: torch.Tensor) -> float:
    with torch.inference_mode():
        return float((one(audio) - other(audio)).abs().max())


nets = st.fixed_dictionaries(
    {
        "hidden": st.integers(1, 9),
        "layers": st.integers(1, 3),
        "width": st.integers(1, 9),
        "linears": st.integers(0, 3),
        "seed": st.integers(0, 2**31 - 1),
    }
)


@settings(deadline=None, max_examples=25)
@given(nets, st.data())
def test_random_networks_say_what_they_say_masked(shape: dict[str, int], data: st.DataObject) -> None:
    whole = network(**shape)
    hidden = data.draw(st.none() | st.integers(1, shape["hidden"]))
    linear = data.draw(st.none() | st.integers(1, shape["width"])) if shape["linears"] else None
    kept = dict(units_to_keep(whole, hidden, linear))
    small = prune_once(whole, hidden, linear)
    expected = {"hidden": hidden or shape["hidden"]} | (
        {"linear": linear or shape["width"]} if shape["linears"] else {}
    )
    assert kept_units(small) == expected
    audio = torch.randn(2, 1, SHORT)
    assert largest_difference(small, masked(whole, kept), audio) < 1e-5


@pytest.mark.parametrize("structure", ["hidden", "linear", "both"])
@pytest.mark.parametrize("ratio", [0.2, 0.8, 0.95])
def test_the_real_weights_say_what_they_say_masked(
    real: PyanNet, excerpt: Any, structure: Structure, ratio: float
) -> None:
    (sizes,) = schedule(Pruning(structure, ratio), real, 1)
    kept = dict(units_to_keep(real, **sizes))
    audio = torch.from_numpy(excerpt[: 10 * 16_000].copy())[None, None]
    small = prune_once(real, **sizes)
    assert largest_difference(small, masked(real, kept), audio) < 1e-5
    assert largest_difference(small, real, audio) > 1e-3  # something was cut


def test_the_old_network_is_left_as_it_was() -> None:
    whole = network()
    before = copy.deepcopy(whole.state_dict())
    small = prune_once(whole, hidden=3, linear=3)
    with torch.no_grad():
        for value in small.parameters():
            value.add_(1.0)
    assert all(torch.equal(value, before[name]) for name, value in whole.state_dict().items())
    assert kept_units(whole) == {"hidden": 6, "linear": 5}


def test_nobodys_random_numbers_change() -> None:
    whole = network()
    torch.manual_seed(1)
    expected = torch.rand(1)
    torch.manual_seed(1)
    prune_once(whole, hidden=3)
    assert torch.equal(torch.rand(1), expected)


@pytest.mark.parametrize("training", [True, False])
def test_mode_and_precision_stay(training: bool) -> None:
    small = prune_once(network().double().train(training), hidden=3)
    assert small.training is training
    assert {value.dtype for value in small.parameters()} == {torch.float64}
    assert all(value.requires_grad for value in small.lstm.parameters())


def test_keeping_all_units_changes_nothing(real: PyanNet) -> None:
    same = prune_once(real, hidden=128, linear=128)
    assert all(torch.equal(value, real.state_dict()[name]) for name, value in same.state_dict().items())


def test_stock_pyannote_loads_what_is_saved(tmp_path: Path, real: PyanNet, base: dict[str, Any], excerpt: Any) -> None:
    small = pruned(real, "both", 0.6)
    torch.save(checkpoint_of(small, base), tmp_path / "small.bin")
    loaded = Model.from_pretrained(tmp_path / "small.bin")
    assert isinstance(loaded, PyanNet)
    assert kept_units(loaded) == {"hidden": 67, "linear": 67}
    assert kept_units(real) == {"hidden": 128, "linear": 128}
    audio = torch.from_numpy(excerpt[: 10 * 16_000].copy())[None, None]
    assert largest_difference(loaded.eval(), small, audio) == 0.0
    # the base is as it was
    assert base["hyper_parameters"]["lstm"]["hidden_size"] == 128
    assert base["state_dict"]["linear.0.weight"].shape == (128, 256)


@pytest.mark.parametrize(
    ("structure", "ratio", "units", "millions", "mib"),
    [
        ("none", 0.0, 128, 1.47, 5.63),
        ("hidden", 0.2, 104, 1.01, 3.86),
        ("hidden", 0.4, 84, 0.69, 2.65),
        ("hidden", 0.6, 67, 0.47, 1.82),
        ("hidden", 0.8, 53, 0.33, 1.26),
        ("linear", 0.2, 104, 1.46, 5.59),
        ("linear", 0.4, 84, 1.45, 5.55),
        ("linear", 0.6, 67, 1.45, 5.52),
        ("linear", 0.8, 53, 1.44, 5.50),
    ],
)
def test_table_1(
    tmp_path: Path,
    real: PyanNet,
    base: dict[str, Any],
    structure: Structure,
    ratio: float,
    units: int,
    millions: float,
    mib: float,
) -> None:
    small = pruned(real, structure, ratio) if structure != "none" else real
    assert kept_units(small) == {"hidden": 128, "linear": 128} | ({structure: units} if structure != "none" else {})
    assert round(parameter_count(small) / 1e6, 2) == millions
    save_checkpoint(checkpoint_of(small, base), tmp_path / "small.bin")
    assert (tmp_path / "small.bin").stat().st_size / MIB == pytest.approx(mib, abs=0.01)


@pytest.mark.parametrize(
    ("lstm", "reason"),
    [
        ({"monolithic": False}, "monolithic = false.*save it as a monolithic one"),
        ({"bidirectional": False}, "not a plain bidirectional one.*pruning structure none"),
    ],
)
def test_other_lstms_are_refused(lstm: dict[str, Any], reason: str) -> None:
    with pytest.raises(ModelError, match=reason):
        prune_once(network(**lstm), hidden=2)


def test_units_that_are_not_there_are_refused() -> None:
    whole = network(linears=0)
    with pytest.raises(ModelError, match=r"no linear layers to prune.*hidden or none"):
        prune_once(whole, linear=2)
    with pytest.raises(ModelError, match="no linear layers to prune"):
        schedule(Pruning("both", 0.4), whole, 4)
    for wanted in (0, 7):
        with pytest.raises(ModelError, match=f"cannot keep {wanted} of 6 hidden units: keep 1 to 6"):
            prune_once(whole, hidden=wanted)


def test_rebuilding_takes_any_units_one_chooses() -> None:
    whole = network()
    kept = {f"lstm.{layer}": torch.tensor([1, 4]) for layer in range(2)}
    small = rebuild(whole, kept)
    assert torch.equal(small.lstm.bias_ih_l0, whole.lstm.bias_ih_l0[[1, 4, 7, 10, 13, 16, 19, 22]])
    assert torch.equal(small.linear[0].weight, whole.linear[0].weight[:, [1, 4, 7, 10]])
    assert small.lstm.weight_hh_l0.shape == (8, 2)

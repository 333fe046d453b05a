"""The bottleneck along the slices: what a slice learns from its neighbours."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import yaml
from torch import nn
from toys import toy_settings

from segkit.cli import main
from segkit.config import RunConfig
from segkit.engines import TorchEngine
from segkit.errors import SettingsError
from segkit.models import build_model
from segkit.models.bottlenecks.slice_gru import AttentiveGRU, SliceGRU
from segkit.patches import TileSettings
from segkit.score import score_volume
from segkit.train import train


def started(channels: int) -> SliceGRU:
    """One that weighs: at the very start none does."""
    gru = SliceGRU(channels, nn.BatchNorm2d)
    nn.init.normal_(gru.weigh.weight)
    return gru


def scanner() -> nn.Module:
    """A network whose bottleneck weighs."""
    torch.manual_seed(0)
    network = build_model("unet", feature_scale=16, bottleneck="slice_gru", in_channels=1).eval()
    nn.init.normal_(network.bottleneck.weigh.weight)
    return network


def test_it_begins_by_handing_every_slice_on_as_it_is() -> None:
    run = torch.randn(4, 8, 3, 4)
    assert torch.equal(SliceGRU(8, nn.BatchNorm2d)(run, slices=4), run)
    network = build_model("unet", feature_scale=16, bottleneck="slice_gru", in_channels=1).eval()
    deepest = torch.randn(4, 64, 3, 4)
    assert torch.equal(network.bottleneck(deepest, 4), deepest)                # also where a whole network starts its weights


def test_a_weight_is_twice_the_sigmoid_of_what_was_seen_on_both_ways() -> None:
    gru, run = started(4), torch.randn(1, 3, 4, 2, 2)
    seen = torch.cat([gru.down(run), gru.up(run.flip(1)).flip(1)], dim=2)
    weights = 2 / (1 + torch.exp(-(seen @ gru.weigh.weight.T + gru.weigh.bias)))
    torch.testing.assert_close(gru(run[0], slices=3), run[0] * weights[0, :, :, None, None])


def test_a_slice_knows_of_the_slices_on_both_sides() -> None:
    gru = started(8)
    run = torch.randn(5, 8, 3, 4)
    changed = run.clone()
    changed[0] += 1
    before, after = gru(run, slices=5), gru(changed, slices=5)
    assert not torch.allclose(before[4], after[4])
    changed = run.clone()
    changed[4] += 1
    assert not torch.allclose(before[0], gru(changed, slices=5)[0])


def test_runs_do_not_know_of_each_other() -> None:
    gru = started(8)
    runs = torch.randn(6, 8, 3, 4)
    torch.testing.assert_close(gru(runs, slices=3)[:3], gru(runs[:3], slices=3))


def test_the_state_follows_the_formula() -> None:
    gru = AttentiveGRU(4, 3)
    run = torch.randn(1, 2, 4, 1, 2)
    state = torch.zeros(1, 3)
    for slice_ in run[0]:
        positions = slice_.flatten(1).T                                       # (2, 4)
        similarity = gru.key(positions) @ gru.query(state)[0] / 3**0.5
        state = gru.cell((similarity.softmax(0)[:, None] * positions).sum(0)[None], state)
    torch.testing.assert_close(gru(run)[:, -1], state)


def test_the_order_of_the_slices_matters_to_a_whole_network_and_only_within_a_run() -> None:
    network = scanner()
    volume = torch.randn(1, 4, 1, 32, 32)
    with torch.no_grad():
        together, single = network(volume), network(volume[0])
        assert together.shape == single.shape == (4, 2, 32, 32)
        assert not torch.allclose(together, single)
        torch.testing.assert_close(network(volume.transpose(0, 1)), single)


@pytest.mark.parametrize("whole_up_to", [0, 10**6])
def test_prediction_walks_the_whole_volume_however_it_is_cut(whole_up_to: int) -> None:
    network = scanner()
    engine = TorchEngine(network, "cpu", "fp32")
    volume = torch.randn(7, 1, 32, 48)
    tiles = TileSettings(whole_up_to=whole_up_to, tile=(32, 48))
    engine.batch_pixels = 3 * 32 * 48                                      # three slices at a time, and one at the end
    with torch.no_grad():
        expected = network(volume[None])
    scored = torch.stack(list(score_volume(lambda: iter(volume), (32, 48), engine, tiles)))
    torch.testing.assert_close(scored, expected, rtol=1e-3, atol=1e-3)
    flipped = torch.stack(list(score_volume(lambda: iter(volume), (32, 48), engine, tiles, ((), (-1,)))))
    with torch.no_grad():
        torch.testing.assert_close(flipped, (expected + network(volume.flip(-1)[None]).flip(-1)) / 2, rtol=1e-3, atol=1e-3)


def test_a_volume_is_scored_in_bfloat16() -> None:
    network, volume = scanner(), torch.randn(5, 1, 32, 48)
    full, half = (torch.cat([*TorchEngine(network, "cpu", precision).score_volume(lambda: volume.split(2))]) for precision in ("fp32", "bf16"))
    assert half.shape == (5, 2, 32, 48)
    assert half.dtype == torch.float32
    assert (half - full).abs().mean() < 0.05 * full.abs().mean()


def test_windows_of_a_large_volume_are_stitched() -> None:
    engine = TorchEngine(scanner(), "cpu", "fp32")
    volume = torch.randn(3, 1, 40, 72)
    scored = list(score_volume(lambda: iter(volume), (40, 72), engine, TileSettings(whole_up_to=0, tile=(32, 32), overlap=0.25)))
    assert [tuple(one.shape) for one in scored] == [(2, 40, 72)] * 3


def test_a_volume_is_trained_and_predicted_from_the_command_line(tmp_path: Path) -> None:
    config = tmp_path / "gru.yaml"
    sample = Path(__file__).parents[2] / "data_samples" / "brain"
    tree = yaml.safe_load((Path(__file__).parents[2] / "configs" / "hippocampus.yaml").read_text(encoding="utf-8"))
    tree["data"]["manifest"] = str(sample / "manifest.csv")
    tree["model"] = {"feature_scale": 16, "bottleneck": "slice_gru"}
    tree["train"] = {**tree["train"], "steps": 2, "batch_size": 1, "slices": 4, "validations": 1}
    config.write_text(yaml.safe_dump(tree), encoding="utf-8")
    assert main(["train", str(config), "-o", str(tmp_path / "run"), "-q"]) == 0
    assert main(["predict", str(sample / "manifest.csv"), "-m", str(tmp_path / "run"), "-o", str(tmp_path / "masks"), "-q"]) == 0
    assert list((tmp_path / "masks").rglob("*.nii.gz"))


def test_single_pictures_have_no_slices_to_look_along(tmp_path: Path, discs: Path) -> None:
    tree = toy_settings(discs)
    tree["model"] = {"feature_scale": 16, "bottleneck": "slice_gru"}
    with pytest.raises(SettingsError, match="looks along the slices of volumes, the training data are single pictures"):
        train(RunConfig.model_validate(tree), tmp_path)

"""Published weights: downloaded once, fitted to the encoder, and nothing skipped in silence. The network is a server in this process."""

from __future__ import annotations

import argparse
import hashlib
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from toys import toy_settings

from segkit import pretrained
from segkit.checkpoint import Card, load_model, read_weights, save_model
from segkit.config import RunConfig
from segkit.errors import SettingsError, VanishedError, WeightsError
from segkit.models import ENCODERS, build_classifier, build_encoder, build_model
from segkit.pretrained import (
    OFFICIAL,
    OFFICIAL_FILES,
    adapt_channels,
    default_folder,
    fetch,
    fit_encoder,
    fit_network,
    load_network,
    load_pretrained,
    match_classes,
    official_url,
    place,
    recognise,
)
from segkit.train.state import fresh_state, identity, restore, save_state

Shapes = dict[str, tuple[int, ...]]


def norm_shapes(name: str, width: int) -> Shapes:
    per_channel = {f"{name}.{part}": (width,) for part in ("weight", "bias", "running_mean", "running_var")}
    return {**per_channel, f"{name}.num_batches_tracked": ()}


def torchvision_shapes(blocks: tuple[int, ...], expansion: int, width: int = 64, groups: int = 1) -> Shapes:
    """Names and shapes in torchvision's files, written down without a network: expansion 1 has basic blocks, 4 has bottlenecks."""
    shapes: Shapes = {"conv1.weight": (64, 3, 7, 7), **norm_shapes("bn1", 64)}
    before = 64
    for stage, count in enumerate(blocks):
        planes = 64 * 2**stage
        inner, out = planes * width // 64 * groups, planes * expansion
        for block in range(count):
            name = f"layer{stage + 1}.{block}"
            if expansion == 1:
                convs = [(planes, before, 3, 3), (planes, planes, 3, 3)]
            else:
                convs = [(inner, before, 1, 1), (inner, inner // groups, 3, 3), (out, inner, 1, 1)]
            for number, shape in enumerate(convs, start=1):
                shapes |= {f"{name}.conv{number}.weight": shape, **norm_shapes(f"{name}.bn{number}", shape[0])}
            if block == 0 and before != out:
                shapes |= {f"{name}.downsample.0.weight": (out, before, 1, 1), **norm_shapes(f"{name}.downsample.1", out)}
            before = out
    return {**shapes, "fc.weight": (1000, before), "fc.bias": (1000,)}


TABLES = {
    "resnet18": torchvision_shapes((2, 2, 2, 2), 1),
    "resnet34": torchvision_shapes((3, 4, 6, 3), 1),
    "resnet50": torchvision_shapes((3, 4, 6, 3), 4),
    "resnet101": torchvision_shapes((3, 4, 23, 3), 4),
    "resnet152": torchvision_shapes((3, 8, 36, 3), 4),
    "resnext50_32x4d": torchvision_shapes((3, 4, 6, 3), 4, width=4, groups=32),
    "resnext101_32x8d": torchvision_shapes((3, 4, 23, 3), 4, width=8, groups=32),
    "wide_resnet50_2": torchvision_shapes((3, 4, 6, 3), 4, width=128),
    "wide_resnet101_2": torchvision_shapes((3, 4, 23, 3), 4, width=128),
}


def published(name: str) -> dict[str, Tensor]:
    """Random numbers under torchvision's names, in its shapes; variances are positive."""
    torch.manual_seed(1)
    return {key: torch.rand(shape) + 0.5 if shape else torch.tensor(7) for key, shape in TABLES[name].items()}


@pytest.fixture(scope="module")
def resnet18() -> dict[str, Tensor]:
    return published("resnet18")


def shell(name: str, **options: Any) -> nn.Module:
    """An encoder whose weights are whatever the memory holds: nothing is drawn, so it is there at once."""
    with torch.device("meta"):
        return build_encoder(name, **options).to_empty(device="cpu")


# names and shapes


@pytest.mark.parametrize("name", TABLES)
def test_each_name_and_shape_of_torchvision_is_in_the_encoder(name: str) -> None:
    with torch.device("meta"):
        own = build_classifier(name).state_dict()
    assert {key: tuple(value.shape) for key, value in own.items()} == TABLES[name]


@pytest.mark.parametrize(("name", "loaded", "fresh"), [("resnet18", 120, 0), ("se_resnet18", 120, 16), ("cbam_resnet18", 120, 24)])
def test_attention_starts_fresh_beside_published_weights(resnet18: dict[str, Tensor], name: str, loaded: int, fresh: int) -> None:
    encoder = shell(name)
    report = fit_encoder(encoder, resnet18)
    assert (len(report.loaded), len(report.fresh)) == (loaded, fresh)            # 8 blocks with 2 tensors of SE or 3 of CBAM each
    assert all("attention" in key for key in report.fresh)
    assert report.left_out == {"fc.weight": "a classifier's head", "fc.bias": "a classifier's head"}
    assert all(torch.equal(encoder.state_dict()[key], resnet18[key]) for key in report.loaded)


def conv_norm(x: Tensor, weights: dict[str, Tensor], number: int, **options: Any) -> Tensor:
    """A convolution and its batch norm in evaluation, from the names of the first block of a stage."""
    x = F.conv2d(x, weights[f"conv{number}.weight"], **options)
    mean, variance, weight, bias = (weights[f"bn{number}.{part}"][:, None, None] for part in ("running_mean", "running_var", "weight", "bias"))
    return (x - mean) / torch.sqrt(variance + 1e-5) * weight + bias


def block_with_weights(name: str, block: str) -> tuple[nn.Module, dict[str, Tensor]]:
    """A block of an encoder with weights of torchvision's names and shapes, and those weights."""
    torch.manual_seed(2)
    shapes = {key.removeprefix(f"{block}."): shape for key, shape in TABLES[name].items() if key.startswith(f"{block}.")}
    weights = {key: torch.rand(shape) + 0.5 if len(shape) < 2 else torch.randn(shape) * 0.02 for key, shape in shapes.items()}
    module = shell(name).get_submodule(block).eval()
    module.load_state_dict(weights)
    return module, weights


def test_a_basic_block_computes_its_formula_with_published_weights() -> None:
    block, weights = block_with_weights("resnet18", "layer1.0")
    x = torch.rand(1, 64, 5, 7)
    branch = conv_norm(torch.relu(conv_norm(x, weights, 1, padding=1)), weights, 2, padding=1)
    torch.testing.assert_close(block(x), torch.relu(branch + x))


def test_the_stride_of_a_bottleneck_sits_on_its_middle_convolution() -> None:
    block, weights = block_with_weights("resnet50", "layer2.0")
    x = torch.rand(1, 256, 5, 7)
    branch = torch.relu(conv_norm(torch.relu(conv_norm(x, weights, 1)), weights, 2, stride=2, padding=1))
    shortcut = {key.replace("downsample.0", "conv9").replace("downsample.1", "bn9"): value for key, value in weights.items()}
    torch.testing.assert_close(block(x), torch.relu(conv_norm(branch, weights, 3) + conv_norm(x, shortcut, 9, stride=2)))


# what becomes of each tensor


@pytest.mark.parametrize(
    ("channels", "expected"),
    [(1, [7.0]), (2, [1.5, 3.0]), (4, [0.75, 1.5, 3.0, 0.75]), (6, [0.5, 1.0, 2.0, 0.5, 1.0, 2.0])],
)
def test_three_channels_become_others(channels: int, expected: list[float]) -> None:
    assert adapt_channels(torch.tensor([1.0, 2.0, 4.0]).reshape(1, 3, 1, 1), channels).flatten().tolist() == expected


def test_one_channel_is_shared_out_among_four() -> None:
    assert adapt_channels(torch.full((1, 1, 1, 1), 2.0), 4).flatten().tolist() == [0.5] * 4


@pytest.mark.parametrize("channels", [1, 6])
def test_a_grey_picture_is_answered_as_before(channels: int) -> None:
    weight, grey = torch.rand(8, 3, 7, 7), torch.rand(1, 1, 33, 47)
    before = F.conv2d(grey.expand(1, 3, 33, 47), weight)
    torch.testing.assert_close(F.conv2d(grey.expand(1, channels, 33, 47), adapt_channels(weight, channels)), before, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("channels", [1, 2, 4])
def test_the_first_convolution_is_adapted_and_told_of(resnet18: dict[str, Tensor], channels: int) -> None:
    encoder = shell("resnet18", in_channels=channels)
    report = fit_encoder(encoder, resnet18)
    assert report.adapted == {"conv1.weight": f"from 3 channels to {channels}"}
    assert len(report.loaded) == 119
    assert torch.equal(encoder.state_dict()["conv1.weight"], adapt_channels(resnet18["conv1.weight"], channels))


@pytest.mark.parametrize(
    ("stem", "fresh", "reason"),
    [("full", ["conv1.weight"], "of another shape in the file"), ("deep", None, "not in the file")],
)
def test_another_stem_starts_fresh(resnet18: dict[str, Tensor], stem: str, fresh: list[str] | None, reason: str) -> None:
    report = fit_encoder(shell("resnet18", stem=stem), resnet18)
    assert len(report.loaded) == 119
    assert set(report.fresh.values()) == {reason}
    assert fresh is None or list(report.fresh) == fresh
    assert all(key.startswith("conv1.") for key in report.fresh)
    assert "conv1.weight" in report.left_out


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("resnet18", {}),
        ("resnet18", {"in_channels": 5}),
        ("cbam_resnet18", {"stem": "deep"}),
        ("se_resnet18", {"stem": "full"}),
        ("resnet18", {"norm": "group"}),
        ("resnet18", {"output_stride": 8}),
    ],
)
def test_every_tensor_is_accounted_for_once(resnet18: dict[str, Tensor], name: str, options: dict[str, Any]) -> None:
    encoder = shell(name, **options)
    report = fit_encoder(encoder, resnet18)
    assert sorted([*report.loaded, *report.adapted, *report.fresh]) == sorted(encoder.state_dict())
    assert sorted([*report.loaded, *report.adapted, *report.left_out]) == sorted(resnet18)


def test_a_report_reads_as_a_few_lines(resnet18: dict[str, Tensor]) -> None:
    report = fit_encoder(shell("se_resnet18", in_channels=1), resnet18, "w.pth")
    assert report.lines() == [
        "w.pth: 119 of the encoder's 136 tensors loaded",
        "1 adapted, from 3 channels to 1: conv1.weight",
        "16 started fresh, not in the file: layer1.0.attention.squeeze.weight, layer1.0.attention.excite.weight, "
        "layer1.1.attention.squeeze.weight, layer1.1.attention.excite.weight, … (12 more)",
        "2 left out, a classifier's head: fc.weight, fc.bias",
    ]
    assert str(report) == "\n".join(report.lines())


def test_files_from_before_batch_norms_counted_are_taken(resnet18: dict[str, Tensor]) -> None:
    report = fit_encoder(shell("resnet18"), {key: value for key, value in resnet18.items() if "num_batches" not in key})
    assert len(report.loaded) == 100                                              # 20 batch norms without their counter
    assert all(key.endswith("num_batches_tracked") for key in report.fresh)


def test_a_head_with_other_classes_starts_fresh(resnet18: dict[str, Tensor]) -> None:
    report = fit_encoder(build_classifier("resnet18", num_classes=5), resnet18)
    assert report.fresh == {"fc.weight": "of another shape in the file", "fc.bias": "of another shape in the file"}


def test_half_precision_weights_become_those_of_the_encoder(resnet18: dict[str, Tensor]) -> None:
    encoder = shell("resnet18", in_channels=1)
    fit_encoder(encoder, {key: value.half() if value.is_floating_point() else value for key, value in resnet18.items()})
    assert {value.dtype for key, value in encoder.state_dict().items() if "num_batches" not in key} == {torch.float32}


@pytest.mark.parametrize("name", ["mobilenet_v2", "shufflenet_v2_x1_0", "ghostnet"])
def test_a_light_encoder_takes_all_that_a_classifier_has_for_it(name: str) -> None:
    with torch.device("meta"):
        weights = build_classifier(name).to_empty(device="cpu").state_dict()
    encoder = shell(name)
    report = fit_encoder(encoder, weights)
    assert not report.fresh
    assert set(report.left_out.values()) <= {"a classifier's head", "no such part in the encoder"}


# another network


def test_weights_of_another_network_are_recognised_and_change_nothing(resnet18: dict[str, Tensor]) -> None:
    encoder = shell("resnet50")
    for value in encoder.state_dict().values():
        value.zero_()
    with pytest.raises(WeightsError, match=r"w\.pth: holds weights of resnet18, the encoder is resnet50; set model\.encoder to resnet18"):
        fit_encoder(encoder, resnet18, "w.pth")
    assert not any(value.any() for value in encoder.state_dict().values())


@pytest.mark.parametrize(("encoder", "weights"), [("resnet18", "resnet34"), ("resnet34", "resnet18"), ("resnet101", "resnet50"), ("se_resnet18", "resnet34")])
def test_another_depth_is_another_encoder_though_its_first_blocks_would_fit(encoder: str, weights: str) -> None:
    with pytest.raises(WeightsError, match=f"holds weights of {weights}, the encoder is {encoder}; set model.encoder to {weights}"):
        fit_encoder(shell(encoder), published(weights))


def test_weights_that_fit_are_not_held_against_all_encoders(resnet18: dict[str, Tensor], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pretrained, "_shapes_of", lambda name: pytest.fail("building every encoder takes seconds"))
    for name in ("resnet18", "se_resnet18"):
        assert len(fit_encoder(shell(name), resnet18, name=name).loaded) == 120


def test_a_failed_download_leaves_no_folder_but_the_users_own(tmp_path: Path) -> None:
    for url in ("http://127.0.0.1:9/a/model.pth", OFFICIAL.replace("https://download.pytorch.org", "http://127.0.0.1:9") + "w.pth"):
        with pytest.raises(WeightsError, match="can't be downloaded"):
            fetch(url, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_part_of_an_encoder_is_not_taken_for_the_whole(resnet18: dict[str, Tensor]) -> None:
    part = {key: value for key, value in resnet18.items() if key.startswith(("layer2", "layer3", "layer4"))}
    encoder = shell("resnet18")
    before = {key: value.clone() for key, value in encoder.state_dict().items()}
    found = r"holds a part of the encoder only, it lacks bn1\.weight, bn1\.bias, .* \(20 more\); give a file"
    with pytest.raises(WeightsError, match=found):                                # bn1 has 4 that count, layer1 has 20
        fit_encoder(encoder, part, name="resnet18")
    assert all(torch.equal(value, before[key]) or value.isnan().any() for key, value in encoder.state_dict().items())


def test_weights_with_other_norms_are_known_and_refused_where_they_lack_something() -> None:
    grouped = build_encoder("resnet18", norm="group").state_dict()
    assert recognise(grouped) == "resnet18"
    with pytest.raises(WeightsError, match=r"is of an encoder with another norm, without bn1\.running_mean, .*; set model\.norm as it was there"):
        fit_encoder(shell("resnet18"), grouped)
    with pytest.raises(WeightsError, match="holds weights of resnet18, the encoder is resnet34"):
        fit_encoder(shell("resnet34", norm="group"), grouped)


def test_between_stems_all_but_the_stem_is_taken() -> None:
    for one, other in (("deep", "default"), ("default", "deep")):
        report = fit_encoder(shell("resnet18", stem=one), build_encoder("resnet18", stem=other).state_dict())
        assert len(report.loaded) == 119
        assert all(key.startswith("conv1.") for key in (*report.fresh, *report.left_out))


def test_a_plain_encoder_without_norms_does_not_take_half_of_one_with() -> None:
    with pytest.raises(WeightsError, match=r"holds a part of the encoder only, it lacks stages\.0\.2\.weight"):
        fit_encoder(build_encoder("plain", feature_scale=16, batchnorm=False), build_encoder("plain", feature_scale=16).state_dict())


def test_an_encoder_with_other_norms_says_what_it_can_not_use(resnet18: dict[str, Tensor]) -> None:
    report = fit_encoder(shell("resnet18", norm="group"), resnet18)
    told = [line for line in report.lines() if "statistics of batch norms, in whose place the encoder has others" in line]
    assert len(report.loaded) == 60                                              # 20 convolutions, 20 scales, 20 shifts
    assert told[0].startswith("60 left out")


def test_a_first_convolution_without_channels_starts_fresh(resnet18: dict[str, Tensor]) -> None:
    report = fit_encoder(shell("resnet18"), {**resnet18, "conv1.weight": torch.zeros(64, 0, 7, 7)})
    assert report.fresh == {"conv1.weight": "of another shape in the file"}


@pytest.mark.parametrize(("scale", "width"), [(2, 32), (8, 8)])                  # 2 is what plain is without a word
def test_weights_of_the_same_encoder_in_another_size_are_told_with_a_pair_of_shapes(tmp_path: Path, scale: int, width: int) -> None:
    path = save(build_encoder("plain", feature_scale=scale).state_dict(), tmp_path / "w.pth")
    shapes = rf"stages\.0\.0\.weight has \({width}, 3, 3, 3\), wants \(16, 3, 3, 3\); set them alike"
    with pytest.raises(WeightsError, match=rf"they are of the same encoder with other options \(model\.feature_scale, …\): {shapes}"):
        load_pretrained(build_encoder("plain", feature_scale=4), path, name="plain")


def test_weights_of_no_known_network_are_shown() -> None:
    with pytest.raises(WeightsError, match=r"0 of the encoder's \d+ tensors fit; it holds blocks\.0\.w, blocks\.1\.w, .*, … \(5 more\)"):
        fit_encoder(build_encoder("plain", feature_scale=32), {f"blocks.{number}.w": torch.zeros(1) for number in range(9)})


@pytest.mark.parametrize("name", ["resnet34", "resnext50_32x4d", "se_resnet50", "cbam_resnet101"])
def test_an_encoder_is_known_by_its_weights(name: str) -> None:
    with torch.device("meta"):
        assert recognise(build_encoder(name, in_channels=1, stem="deep").state_dict()) == name


# files


@pytest.fixture
def plain() -> nn.Module:
    return build_encoder("plain", feature_scale=32)


def save(content: dict[str, Any], path: Path) -> Path:
    """With torch or safetensors, as the ending says; the zip of today or the stream of before 1.6."""
    if path.suffix == ".safetensors":
        safetensors.torch.save_file(content, path)
    else:
        torch.save(content, path, _use_new_zipfile_serialization="old" not in path.name)
    return path


@pytest.mark.parametrize("name", ["w.pth", "w.pt", "w.pth.tar", "w.safetensors", "old.pth", "old.pth.tar"])
@pytest.mark.parametrize("prefix", ["", "module.", "encoder.", "module.encoder."])
def test_bare_weights_are_taken_from_every_kind_of_file(tmp_path: Path, plain: nn.Module, name: str, prefix: str) -> None:
    path = save({prefix + key: value for key, value in plain.state_dict().items()}, tmp_path / name)
    encoder = build_encoder("plain", feature_scale=32)
    report = load_pretrained(encoder, path)
    assert report.source == str(path)
    assert not report.fresh
    assert not report.left_out
    assert all(torch.equal(value, plain.state_dict()[key]) for key, value in encoder.state_dict().items())


@pytest.mark.parametrize("name", ["w.pth", "w.pth.tar", "old.pt"])
@pytest.mark.parametrize("wrapper", ["state_dict", "model", "model_state_dict"])
def test_weights_among_other_things_are_taken(tmp_path: Path, plain: nn.Module, name: str, wrapper: str) -> None:
    numbers = {"best": np.float64(0.9), "last": np.float32(0.5), "epoch": np.int64(3), "done": np.bool_(True)}
    others = {**numbers, "arch": "plain", "args": argparse.Namespace(lr=1e-3, workers=4), "optimizer": {"state": {0: torch.zeros(1)}, "groups": [1, 2.5]}}
    path = save({**others, wrapper: {f"module.{key}": value for key, value in plain.state_dict().items()}}, tmp_path / name)
    report = load_pretrained(build_encoder("plain", feature_scale=32), path)
    assert not report.fresh
    assert report.lines()[1:] == [f"took the weights under {wrapper!r}", "took 'module.' off every key"]


def test_numbers_of_numpy_before_2_are_read(tmp_path: Path) -> None:
    stream = save({"best": np.float64(0.5), "state_dict": {"a": torch.ones(1)}}, tmp_path / "old.pth").read_bytes()
    assert b"numpy._core.multiarray" in stream
    (tmp_path / "old.pth").write_bytes(stream.replace(b"numpy._core.multiarray", b"numpy.core.multiarray"))
    assert list(read_weights(tmp_path / "old.pth")[0]) == ["a"]


@pytest.mark.parametrize("length", [0x280, 0x4B50])
def test_a_header_whose_length_looks_like_a_torch_file_is_no_torch_file(tmp_path: Path, length: int) -> None:
    start = safetensors.torch.save({"a": torch.ones(1)}, {"about": ""})
    filled = safetensors.torch.save({"a": torch.ones(1)}, {"about": "x" * (length - int.from_bytes(start[:8], "little"))})
    assert filled[:2] in (b"\x80\x02", b"PK")
    (tmp_path / "w.safetensors").write_bytes(filled)
    assert read_weights(tmp_path / "w.safetensors")[0]["a"].item() == 1


def test_a_model_file_of_segkit_gives_its_encoder(tmp_path: Path) -> None:
    run = RunConfig.model_validate({"model": {"feature_scale": 32}})
    network = build_model(run.model)
    save_model(tmp_path / "model.safetensors", run, network.state_dict(), Card())
    encoder = build_encoder("plain", feature_scale=32)
    report = load_pretrained(encoder, tmp_path)                                           # the folder of a run, as -m takes it
    assert torch.equal(encoder.state_dict()["stages.4.3.weight"], network.state_dict()["encoder.stages.4.3.weight"])
    assert set(report.left_out.values()) == {"not of an encoder"}
    assert {key.partition(".")[0] for key in report.left_out} == {"decoder", "head"}


def test_weights_that_are_not_there_are_told_so(tmp_path: Path, plain: nn.Module) -> None:
    with pytest.raises(VanishedError, match="no such weights file"):
        load_pretrained(plain, tmp_path / "none.pth")


# downloads


class Server(ThreadingHTTPServer):
    """Hands out `files`; `asked` has the paths that were wanted."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {}
        self.asked: list[str] = []
        self.url = f"http://127.0.0.1:{self.server_port}/"
        self.stop = threading.Event()


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        name = self.path.strip("/")
        self.server.asked.append(name)
        if name not in self.server.files:
            return self.send_error(404)
        body = self.server.files[name]
        self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=utf-8" if name.startswith("page") else "application/octet-stream")
        if not name.startswith("unknown"):
            self.send_header("Content-Length", str(2 * len(body) if name.startswith(("short", "slow")) else len(body)))
        self.end_headers()
        self.wfile.write(body)
        if name.startswith("slow"):
            self.server.stop.wait(10)
        return None

    def log_message(self, format: str, *args: Any) -> None: ...


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "*")
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.stop.set()
        server.shutdown()
        thread.join()


@pytest.fixture
def official(server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, plain: nn.Module) -> str:
    """The name of a file on the server that counts as official weights of the plain encoder."""
    content = save(plain.state_dict(), tmp_path / "w.pth").read_bytes()
    name = f"plain-{hashlib.sha256(content).hexdigest()[:8]}.pth"
    server.files[name] = content
    monkeypatch.setattr(pretrained, "OFFICIAL", server.url)
    monkeypatch.setitem(OFFICIAL_FILES, "plain", name)
    return name


def files_in(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def test_official_weights_are_downloaded_once(server: Server, official: str, tmp_path: Path, plain: nn.Module) -> None:
    for _ in range(2):
        encoder = build_encoder("plain", feature_scale=32)
        report = load_pretrained(encoder, "imagenet", name="plain", folder=tmp_path / "cache")
        assert report.source == str(tmp_path / "cache" / official)
        assert torch.equal(encoder.state_dict()["stages.0.0.weight"], plain.state_dict()["stages.0.0.weight"])
    assert server.asked == [official]
    assert files_in(tmp_path / "cache") == [tmp_path / "cache" / official]


def test_a_download_of_other_content_is_refused_and_nothing_stays(server: Server, official: str, tmp_path: Path) -> None:
    server.files[official] = b"something else"
    with pytest.raises(WeightsError, match=rf"its sha256 begins with [0-9a-f]{{8}}, that of {server.url}{official} with .*; it was removed"):
        fetch(server.url + official, tmp_path / "cache")
    assert files_in(tmp_path / "cache") == []


def test_an_official_file_that_was_changed_is_removed(server: Server, official: str, tmp_path: Path) -> None:
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / official).write_bytes(b"half of")
    with pytest.raises(WeightsError, match="it was removed, run again to download it"):
        fetch(server.url + official, tmp_path / "cache")
    assert fetch(server.url + official, tmp_path / "cache").read_bytes() == server.files[official]


@pytest.mark.parametrize("name", ["w.pth", "unknown.pth"])
def test_a_download_is_told_of_as_it_grows(server: Server, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pretrained, "CHUNK", 400)
    server.files[name] = bytes(1000)
    heard: list[tuple[str, int, int]] = []
    path = fetch(server.url + name, tmp_path, lambda *told: heard.append(told))
    assert path.read_bytes() == bytes(1000)
    total = 0 if name.startswith("unknown") else 1000
    assert heard == [(name, 400, total), (name, 800, total), (name, 1000, total)]


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("none.pth", "HTTP Error 404: Not Found"),
        ("page.pth", "it answers with a web page instead of a file"),
        ("short.pth", "broke off after 1000 of 2000 bytes|IncompleteRead"),
        ("slow.pth", "timed out"),
    ],
)
def test_a_failed_download_says_what_to_do_and_leaves_nothing(
    server: Server, tmp_path: Path, name: str, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pretrained, "TIMEOUT", 0.2)
    server.files.update({name: bytes(1000)} if name != "none.pth" else {})
    with pytest.raises(WeightsError) as caught:
        fetch(server.url + name, tmp_path)
    message, place_of = str(caught.value), place(server.url + name, tmp_path)
    assert any(reason in message for reason in why.split("|"))
    assert message.startswith(f"{server.url}{name}: can't be downloaded (")
    assert message.endswith(f"download it elsewhere and put it at {place_of}, or give pretrained: PATH")
    assert "\n" not in message
    assert files_in(tmp_path) == []


def test_without_a_network_the_address_and_the_place_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "*")
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/w.pth"
        with pytest.raises(WeightsError, match="Connection refused.*download it elsewhere and put it at"):
            fetch(url, tmp_path)
    target = place(url, tmp_path)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(b"brought by hand")
    assert fetch(url, tmp_path) == target


def test_a_file_url_is_read_where_it_lies(tmp_path: Path, plain: nn.Module) -> None:
    path = save(plain.state_dict(), tmp_path / "weights of ours.pth")
    report = load_pretrained(build_encoder("plain", feature_scale=32), path.as_uri(), folder=tmp_path / "cache")
    assert report.source == str(path)
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize("url", ["ftp://host/w.pth", "data://w", "s3://bucket/w.pth"])
def test_other_kinds_of_urls_are_refused(tmp_path: Path, plain: nn.Module, url: str) -> None:
    with pytest.raises(SettingsError, match="is not read; give an https, http or file URL, or a path"):
        load_pretrained(plain, url, folder=tmp_path)


def test_an_address_that_can_not_be_taken_apart_is_no_url(tmp_path: Path, plain: nn.Module) -> None:
    with pytest.raises(SettingsError, match=r"https://\[bad/x: is no URL"):
        load_pretrained(plain, "https://[bad/x", folder=tmp_path)


def test_two_files_of_one_name_lie_apart(tmp_path: Path) -> None:
    one, other = (place(f"https://host/{folder}/model.pth", tmp_path) for folder in "ab")
    assert one != other
    assert one.name == other.name == "model.pth"
    assert place(OFFICIAL + "resnet18-f37072fd.pth", tmp_path) == tmp_path / "resnet18-f37072fd.pth"


@pytest.mark.parametrize("end", ["..%2F..%2Fevil.pth", "", "%2e%2e", "a b?download=1", "..%5C..%5Cevil.pth"])
def test_a_download_never_leaves_its_folder(tmp_path: Path, end: str) -> None:
    path = place(f"https://host/{end}", tmp_path)
    assert path.parent.parent == tmp_path
    assert path.resolve() == path
    assert not set(path.name) & set('\\/: ')


def test_downloads_lie_where_the_user_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("SEGKIT_HOME", str(tmp_path / "home"))
    assert default_folder() == tmp_path / "home"
    monkeypatch.delenv("SEGKIT_HOME")
    assert default_folder() == tmp_path / "segkit"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert default_folder() == Path.home() / ".cache" / "segkit"


# official weights


@pytest.mark.parametrize("name", ["resnet50", "se_resnet50", "cbam_resnet50"])
def test_forms_with_attention_have_the_weights_of_the_trunk(name: str) -> None:
    assert official_url(name) == "https://download.pytorch.org/models/resnet50-0676ba61.pth"


def test_encoders_without_official_weights_are_told_which_have_some(plain: nn.Module) -> None:
    with pytest.raises(SettingsError, match="torchvision has no weights for plain; it has some for resnet18, .*; or give a file or a URL"):
        load_pretrained(plain, "imagenet", name="plain")
    with pytest.raises(SettingsError, match="say which encoder it is, for example name='resnet34'"):
        load_pretrained(plain, "imagenet")


@pytest.mark.parametrize("name", OFFICIAL_FILES)
def test_official_weights_are_of_encoders_that_there_are(name: str) -> None:
    assert name in ENCODERS


# at the start of a training run


def run_with(manifest: Path, **train: Any) -> RunConfig:
    return RunConfig.model_validate(toy_settings(manifest, **train))


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    return save(build_encoder("plain", feature_scale=16, in_channels=3).state_dict(), tmp_path / "w.pth")


CPU = torch.device("cpu")


def test_a_run_begins_with_a_pretrained_encoder_and_says_so(tmp_path: Path, weights: Path) -> None:
    state, bare = fresh_state(run_with(tmp_path, pretrained=weights), CPU, "fp32"), fresh_state(run_with(tmp_path), CPU, "fp32")
    own, usual, given = state.network.state_dict(), bare.network.state_dict(), torch.load(weights)
    assert torch.equal(own["encoder.stages.2.0.weight"], given["stages.2.0.weight"])
    assert torch.equal(own["encoder.stages.0.0.weight"], given["stages.0.0.weight"].sum(dim=1, keepdim=True))
    assert torch.equal(own["head.weight"], usual["head.weight"])                          # the rest is as the seed has it
    assert torch.equal(state.averaged["encoder.stages.2.0.weight"], given["stages.2.0.weight"])
    assert state.loaded[1:] == ["1 adapted, from 3 channels to 1: stages.0.0.weight"]
    assert bare.loaded == []


def test_a_run_downloads_into_its_folder(server: Server, official: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[str] = []
    server.files[official] = save(build_encoder("plain", feature_scale=16).state_dict(), tmp_path / "w.pth").read_bytes()
    name = f"plain-{hashlib.sha256(server.files[official]).hexdigest()[:8]}.pth"
    server.files[name] = server.files[official]
    monkeypatch.setitem(OFFICIAL_FILES, "plain", name)
    run = run_with(tmp_path, pretrained="imagenet", downloads=tmp_path / "here")
    state = fresh_state(run, CPU, "fp32", told=lambda name, done, total: heard.append(name))
    assert state.loaded[0].startswith(f"{tmp_path / 'here' / name}: ")
    assert set(heard) == {name}


def test_a_resumed_run_needs_the_weights_no_more(tmp_path: Path, weights: Path) -> None:
    run = run_with(tmp_path, pretrained=weights)
    saved = fresh_state(run, CPU, "fp32")
    save_state(saved, tmp_path / "state.pt", run, "abc")
    weights.unlink()
    with pytest.raises(VanishedError, match="no such weights file"):
        fresh_state(run, CPU, "fp32")
    state = fresh_state(run, CPU, "fp32", resume=True)
    assert state.loaded == []
    restore(state, tmp_path / "state.pt", run, "abc")
    assert state.loaded == saved.loaded                                                   # of what it began with it still tells
    assert all(torch.equal(value, saved.network.state_dict()[key]) for key, value in state.network.state_dict().items())


def test_where_a_run_began_may_change_when_it_is_resumed(tmp_path: Path) -> None:
    assert identity(run_with(tmp_path)) == identity(run_with(tmp_path, pretrained="imagenet", downloads="here"))


def test_a_model_file_does_not_tell_where_the_weights_lay(tmp_path: Path) -> None:
    run = run_with(tmp_path, pretrained="/home/somebody/w.pth", downloads="/home/somebody")
    save_model(tmp_path / "m.safetensors", run, build_model(run.model).state_dict(), Card())
    assert b"somebody" not in (tmp_path / "m.safetensors").read_bytes()
    assert load_model(tmp_path / "m.safetensors").run.train.pretrained is None


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("imagenet", "imagenet"),
        ("https://host/w.pth", "https://host/w.pth"),
        ("https://me:secret@host:8080/w.pth?token=secret#secret", "https://host:8080/w.pth"),
        ("file:///home/secret/w.pth", None),
        ("secret/w.pth", None),
    ],
)
def test_a_model_file_tells_from_which_published_weights_it_began(tmp_path: Path, given: str, kept: str | None) -> None:
    run = run_with(tmp_path, pretrained=given)
    save_model(tmp_path / "m.safetensors", run, build_model(run.model).state_dict(), Card())
    assert load_model(tmp_path / "m.safetensors").run.train.pretrained == kept
    assert b"secret" not in (tmp_path / "m.safetensors").read_bytes()


# at the start with other classes


def network_for(*classes: str, **options: Any) -> nn.Module:
    return build_model("unet", feature_scale=16, num_classes=len(classes), **options).eval()


def save_run(tmp_path: Path, *classes: str) -> tuple[Path, nn.Module]:
    """A model file that knows these classes, and its network."""
    torch.manual_seed(3)
    run = RunConfig.model_validate({"data": {"labels": {name: value for value, name in enumerate(classes)}}, "model": {"feature_scale": 16}})
    network = build_model(run.model).eval()
    save_model(tmp_path / "model.safetensors", run, network.state_dict(), Card())
    return tmp_path / "model.safetensors", network


def test_classes_of_the_same_name_keep_their_logits_wherever_they_stand(tmp_path: Path) -> None:
    path, known = save_run(tmp_path, "background", "nerve", "vessel")
    network = network_for("background", "artery", "vessel", "nerve")
    report = load_network(network, path, ("background", "artery", "vessel", "nerve"))
    picture = torch.rand(2, 3, 33, 47)
    with torch.no_grad():
        before, after = known(picture), network(picture)
    torch.testing.assert_close(after[:, [0, 3, 2]], before)                               # background, nerve, vessel
    assert not torch.allclose(after[:, 1], before[:, 1])
    assert report.classes == {"background": "background", "artery": None, "vessel": "vessel", "nerve": "nerve"}
    assert "2 adapted, rows of background, vessel, nerve: head.weight, head.bias" in report.lines()
    assert report.lines()[-3:] == ["class artery: starts fresh", "class vessel: goes on as vessel", "class nerve: goes on as nerve"]


def test_a_class_that_was_only_renamed_starts_fresh_though_it_would_fit(tmp_path: Path) -> None:
    path, known = save_run(tmp_path, "background", "nerve")
    network = network_for("tissue", "vessel")
    fresh = network.state_dict()["head.weight"].clone()
    report = load_network(network, path, ("tissue", "vessel"))
    assert torch.equal(network.state_dict()["head.weight"][0], known.state_dict()["head.weight"][0])     # the background, by another name
    assert torch.equal(network.state_dict()["head.weight"][1], fresh[1])
    assert report.classes == {"tissue": "background", "vessel": None}


def test_without_names_heads_of_the_same_shape_are_taken_as_they_are(tmp_path: Path) -> None:
    path, known = save_run(tmp_path, "background", "nerve")
    torch.save(known.state_dict(), tmp_path / "bare.pth")
    for source, classes in ((tmp_path / "bare.pth", ("background", "vessel")), (path, ()), (path, ("background", "nerve"))):
        network = network_for("background", "vessel")
        report = load_network(network, source, classes)
        assert torch.equal(network.state_dict()["head.weight"], known.state_dict()["head.weight"])
        assert report.lines()[0].endswith(f"{report.total} of the network's {report.total} tensors loaded")


def test_kept_classes_see_a_grey_picture_as_they_saw_it_in_colour(tmp_path: Path) -> None:
    path, known = save_run(tmp_path, "background", "nerve")
    network = network_for("background", "nerve", in_channels=1)
    load_network(network, path, ("background", "nerve"))
    picture = torch.rand(1, 1, 32, 48)
    with torch.no_grad():
        torch.testing.assert_close(network(picture), known(picture.expand(-1, 3, -1, -1)), rtol=1e-3, atol=1e-4)


def test_side_heads_keep_their_rows_too(tmp_path: Path) -> None:
    weights = network_for("background", "nerve", deep_supervision=True).state_dict()
    network = network_for("background", "vessel", "nerve", deep_supervision=True)
    fit_network(network, weights, rows=match_classes(["background", "vessel", "nerve"], ["background", "nerve"]))
    own = network.state_dict()
    assert torch.equal(own["side_heads.1.weight"][[0, 2]], weights["side_heads.1.weight"])
    assert torch.equal(own["side_heads.1.bias"][[0, 2]], weights["side_heads.1.bias"])

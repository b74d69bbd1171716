"""The image sets that can be downloaded: their official archives and published checksums."""

from __future__ import annotations

from functools import partial

from linfa.data.cifar import read_cifar
from linfa.data.idx import read_mnist
from linfa.data.sets import Archive, ImageSet

_MNIST = (
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
)
# The authors serve their bucket over plain http only; the checksum, not the transport, is what is trusted.
_FASHION = (
    "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
    "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion/",
)
_CIFAR = ("https://www.cs.toronto.edu/~kriz/", "https://cave.cs.toronto.edu/kriz/")


def _archive(mirrors: tuple[str, ...], filename: str, algorithm: str, digest: str) -> Archive:
    return Archive(tuple(mirror + filename for mirror in mirrors), algorithm, digest)


def _idx(name: str, mirrors: tuple[str, ...], digests: tuple[str, str, str, str]) -> ImageSet:
    """Return a set that is kept like MNIST: four files, SHA-256 in the order of `Images`."""
    stems = ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1")
    archives = tuple(
        _archive(mirrors, f"{stem}-ubyte.gz", "sha256", digest) for stem, digest in zip(stems, digests, strict=True)
    )
    return ImageSet(name, (1, 28, 28), 10, archives, partial(read_mnist, train=60_000, test=10_000, shape=(28, 28)))


SETS: dict[str, ImageSet] = {
    "mnist": _idx(
        "mnist",
        _MNIST,
        (
            "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
            "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
            "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
            "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
        ),
    ),
    "fashion_mnist": _idx(
        "fashion_mnist",
        _FASHION,
        (
            "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
            "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
            "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
            "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
        ),
    ),
    # MD5 is what Krizhevsky published for these two. It stops damage and any later replacement of the file
    # (that would take a second preimage); it is no reason to trust a pickle, and `cifar` executes nothing.
    "cifar10": ImageSet(
        "cifar10",
        (3, 32, 32),
        10,
        (_archive(_CIFAR, "cifar-10-python.tar.gz", "md5", "c58f30108f718f92721af3b95e74349a"),),
        partial(
            read_cifar,
            train={f"cifar-10-batches-py/data_batch_{i}": 10_000 for i in range(1, 6)},
            test={"cifar-10-batches-py/test_batch": 10_000},
            labels=b"labels",
        ),
    ),
    "cifar100": ImageSet(
        "cifar100",
        (3, 32, 32),
        100,
        (_archive(_CIFAR, "cifar-100-python.tar.gz", "md5", "eb9058c3a382ffc7106e4002c42a8d85"),),
        partial(
            read_cifar,
            train={"cifar-100-python/train": 50_000},
            test={"cifar-100-python/test": 10_000},
            labels=b"fine_labels",
        ),
    ),
}
"""The sets by name; the tests put small ones of their own in here."""

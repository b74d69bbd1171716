"""Real image sets as arrays: digits (embedded), MNIST, Fashion-MNIST, CIFAR-10 and CIFAR-100.

`load` is all that most readers need. The files behind it, one idea each: `sets` says what a set is,
`catalogue` which ones there are, `embedded` holds the digits, `folder` keeps arrays on disc, `archives`
fetches and checks the official files, `idx` and `cifar` read their two formats and execute nothing.
"""

from __future__ import annotations

from pathlib import Path

from linfa.data.archives import Downloader, obtain
from linfa.data.catalogue import SETS
from linfa.data.embedded import digits
from linfa.data.folder import FILES, missing, read, root, write
from linfa.data.sets import Archive, Images, ImageSet
from linfa.errors import DataError, InputError

__all__ = ["SETS", "Archive", "Downloader", "ImageSet", "Images", "load", "present"]


def load(name: str, *, mmap: bool = False, downloader: Downloader | None = None) -> Images:
    """Return the training and test images of a set with their labels.

    =====================  ==================  =======  =================================================
    name                   (C, H, W), levels   classes  train and test
    =====================  ==================  =======  =================================================
    ``"digits"``           (1, 8, 8), 0…16     10       1437 and 360: the last ones in scikit-learn's order
    ``"mnist"``            (1, 28, 28), 0…255  10       60 000 and 10 000
    ``"fashion_mnist"``    (1, 28, 28), 0…255  10       60 000 and 10 000
    ``"cifar10"``          (3, 32, 32), 0…255  10       50 000 and 10 000
    ``"cifar100"``         (3, 32, 32), 0…255  100      50 000 and 10 000; fine labels
    =====================  ==================  =======  =================================================

    All but the digits are looked for in ``$LINFA_DATA/<name>/{train,test}_{images,labels}.npy``, without that
    variable in ``linfa/data/<name>`` of the user's cache folder. Where one of the four files is absent, the
    official archives are downloaded into that folder, checked against their published checksums before they
    are opened, and converted; the four arrays appear together or not at all, and the archives stay beside
    them. Files that are already there are checked in form (dtype, shape, equal number, range of the labels),
    not in content or number of images.

    Args:
        name: one of the names above.
        mmap: leave the arrays on disc, read-only and paged in as they are used (nothing to the digits).
        downloader: fetches a url in place of pooch's own, called alike (url, path, pooch); for credentials.

    Returns:
        `Images`: train_images (N, C, H, W), train_labels (N,), test_images (M, C, H, W), test_labels (M,),
        all uint8, grey levels and colours as published.

    Raises:
        InputError: no set has that name.
        DataError: the set is absent and cannot be downloaded, or what is there is damaged; says what to do.
        MissingExtraError: scikit-learn (digits) or pooch (downloads) is not installed.

    >>> images = load("digits")
    >>> images.train_images.shape, images.test_images.shape
    ((1437, 1, 8, 8), (360, 1, 8, 8))
    >>> images.train_labels[:10].tolist(), int(images.train_images.max())
    ([0, 1, 2, 3, 4, 5, 6, 7, 8, 9], 16)

    Source: Alpaydin & Kaynak 1998 (digits); LeCun, Bottou, Bengio & Haffner 1998 (MNIST); Xiao, Rasul &
    Vollgraf 2017 (Fashion-MNIST); Krizhevsky 2009 (CIFAR-10, CIFAR-100).

    """
    _check_name(name)
    if name == "digits":
        return digits()
    image_set, folder = SETS[name], root() / name
    if missing(folder):
        write(folder, image_set, image_set.convert(_archives(image_set, folder, downloader)))
    return read(folder, image_set, mmap=mmap)


def present(name: str) -> bool:
    """Return whether a set can be loaded without a download.

    Args:
        name: as for `load`.

    Raises:
        InputError: no set has that name.

    >>> present("digits")
    True
    """
    _check_name(name)
    return name == "digits" or not missing(root() / name)


def _check_name(name: str) -> None:
    if name not in {"digits", *SETS}:
        raise InputError(f"there is no image set {name!r}: the names are {', '.join(['digits', *SETS])}")


def _archives(image_set: ImageSet, folder: Path, downloader: Downloader | None) -> list[Path]:
    """Return the checked archives of a set, or raise the one error that says what to do."""
    absent = ", ".join(missing(folder))
    purpose = f"to download {image_set.name} ({absent} not found in {folder})"
    try:
        return [obtain(archive, folder, purpose, downloader) for archive in image_set.archives]
    except DataError as error:
        archives = ", ".join(archive.filename for archive in image_set.archives)
        raise DataError(
            f"{image_set.name} was looked for in {folder}, which lacks {absent}, "
            "and could not be downloaded:\n"
            f"{error}\n"
            f"Get online and call again; or set LINFA_DATA to a folder that holds {image_set.name}/ with "
            f"{', '.join(FILES.values())}; or place these four, or the official {archives}, in {folder}."
        ) from error

"""python -m linfa.nn.train: train a model of a paper on a real data set; under torchrun, in several processes.

torchrun --nproc-per-node 2 -m linfa.nn.train --model resnet20 --data cifar10 --rule usf --epochs 200
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

import torch
from torch import nn

from linfa.data import SETS
from linfa.errors import InputError, LinfaError
from linfa.nn import convert, models
from linfa.nn.rules import REGISTRY as RULES
from linfa.nn.train import SGD, Adam, Crop, Data, Flip, Laws, Pad, Training, fit, joined
from linfa.nn.train.augmentation import AbstractAugmentation
from linfa.nn.train.checks import fitting
from linfa.nn.train.optimisers import AbstractOptimiser
from linfa.solvers.schedules import Cosine, StepDecay

PRECISIONS = {"float32": None, "bfloat16": torch.bfloat16, "float16": torch.float16}


def parser() -> argparse.ArgumentParser:
    """Return what the command line understands."""
    p = argparse.ArgumentParser("python -m linfa.nn.train", description="Train a model under a feedback rule.")
    p.add_argument("--model", choices=models.REGISTRY, default="mlp")
    p.add_argument("--widths", type=int, nargs="+", help="hidden widths of an mlp", default=[512, 512])
    p.add_argument("--xavier", action="store_true", help="start from Xavier-uniform weights and zero biases")
    p.add_argument("--data", choices=["digits", *SETS], default="digits")
    p.add_argument("--rule", choices=RULES, default="fa")
    p.add_argument("--backprop", nargs="*", default=[], metavar="NAME", help="layers that are left to backprop")
    p.add_argument("--optimiser", choices=["sgd", "adam"], default="sgd")
    p.add_argument("--learning-rate", type=float, default=0.01)
    p.add_argument("--momentum", type=float, default=0.9)
    p.add_argument("--decay", type=float, default=0.0)
    schedule = p.add_mutually_exclusive_group()
    schedule.add_argument(
        "--milestones", type=int, nargs="+", default=[], help="epochs at which the rate falls tenfold"
    )
    schedule.add_argument("--cosine", action="store_true", help="let the rate fall along a cosine")
    p.add_argument("--epochs", type=int, default=10)
    p.add_argument("--batch", type=int, default=128, help="samples per step, of all processes together")
    p.add_argument("--augment", action="store_true", help="flip images and crop them with a padding of 4")
    p.add_argument("--precision", choices=PRECISIONS, default="float32")
    p.add_argument("--held-norms", action="store_true", help="hold the norm of every weight at its initial value")
    p.add_argument("--laws", type=int, default=0, metavar="N", help="keep account of the laws, an entry every N steps")
    p.add_argument("--seed", type=int, default=0)
    p.add_argument("--device", help="by default a GPU where there is one")
    p.add_argument("--checkpoint", help="a file to go on from where it exists, and to write")
    p.add_argument("--out", help="a file for the history (netCDF)")
    return p


def main(arguments: Sequence[str] | None = None) -> None:
    """Train, and print what came of it."""
    given = parser().parse_args(arguments)
    with joined(given.device) as (device, rank):
        model, data, training = prepared(given, device)
        watch = {"laws": Laws(given.laws)} if given.laws else {}
        run = fit(model, data, training, watch=watch, checkpoint=given.checkpoint, progress=sys.stderr.isatty())
        if rank == 0:
            print(run, *run.reports.values(), sep="\n")
            if given.out:
                run.save(given.out)


def prepared(given: argparse.Namespace, device: torch.device) -> tuple[nn.Module, Data, Training]:
    """Return model, data and training as they were asked for."""
    data = Data.load(given.data)
    ways = _ways(given, data.inputs.shape[-1])
    shown = data.test_inputs[:2]
    for way in ways:
        shown = way.plain(shown)
    classes = int(data.targets.max()) + 1
    initialise = models.xavier if given.xavier else None
    if given.model == "mlp":
        widths = (shown[0].numel(), *given.widths, classes)
        model = models.make("mlp", seed=given.seed, initialise=initialise, widths=widths)
    else:
        options = {"classes": classes, "channels": shown.shape[1]}
        model = models.make(given.model, seed=given.seed, initialise=initialise, **options)
    example = data.ready(shown, torch.float32)
    _check_images(given, model, example)
    model = convert(model, given.rule, example=example, backprop=given.backprop, seed=given.seed)
    training = Training(
        _optimiser(given),
        epochs=given.epochs,
        batch=given.batch,
        augmentation=ways,
        amp=PRECISIONS[given.precision],
        held_norms=given.held_norms,
        seed=given.seed,
    )
    return model.to(device), data, training


def _check_images(given: argparse.Namespace, model: nn.Module, example: torch.Tensor) -> None:
    """Raise InputError where the images are not what a model is made for."""
    try:
        # As it is when it is tested: two images have no variance to speak of, and nothing is learnt here.
        fitting(model.eval(), example)
        model.train()
    except InputError as error:
        side = models.SIDES.get(given.model, 32)
        came = "×".join(map(str, example.shape[1:]))
        raise InputError(
            f"{given.model} is made for images of {side}×{side}, and those of {given.data} are {came} here: take "
            "another --model or other --data"
        ) from error


def _ways(given: argparse.Namespace, side: int) -> tuple[AbstractAugmentation, ...]:
    """Return how images are varied: as asked for, and as large as the model needs them."""
    small = side == 28 and given.model != "mlp"
    margin: tuple[AbstractAugmentation, ...] = (Pad(2),) if small else ()
    if given.model == "moskovitz":
        return (*margin, Flip(), Crop(24)) if given.augment else (*margin, Crop(24))
    return (*margin, Flip(), Crop(side + 4 * small, 4)) if given.augment else margin


def _optimiser(given: argparse.Namespace) -> AbstractOptimiser:
    rate = given.learning_rate
    if given.milestones:
        rate = StepDecay(rate, tuple(given.milestones))
    elif given.cosine:
        rate = Cosine(rate, given.epochs)
    if given.optimiser == "adam":
        return Adam(rate, decay=given.decay)
    return SGD(rate, momentum=given.momentum, decay=given.decay)


if __name__ == "__main__":
    try:
        main()
    except InputError as reason:
        print(reason, file=sys.stderr)
        sys.exit(2)  # as argparse does where an option is not understood
    except (LinfaError, KeyboardInterrupt) as reason:
        sys.exit(f"{reason}")

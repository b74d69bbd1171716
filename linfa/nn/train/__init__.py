"""Training: a frozen configuration, one verb, `fit`; data on the device, exact resumption, several processes.

>>> from linfa.nn import convert, models
>>> net = convert(models.make("mlp", widths=(64, 32, 10)), "fa")
>>> run = fit(net, Data.load("digits"), Training(SGD(0.1, momentum=0.9), epochs=1, batch=32))
>>> bool(run.test_accuracy[-1] > 0.7)
True
"""

from __future__ import annotations

from linfa.nn.train.augmentation import AbstractAugmentation, Crop, Flip, Pad
from linfa.nn.train.configuration import Training
from linfa.nn.train.constraint import HeldNorms
from linfa.nn.train.data import Data
from linfa.nn.train.fit import fit
from linfa.nn.train.history import History
from linfa.nn.train.losses import AbstractLoss, CrossEntropy, Squared
from linfa.nn.train.optimisers import SGD, AbstractOptimiser, Adam
from linfa.nn.train.processes import Processes, joined
from linfa.nn.train.watch import Laws, Monitored, Trained, Watch, Watcher

__all__ = [
    "SGD",
    "AbstractAugmentation",
    "AbstractLoss",
    "AbstractOptimiser",
    "Adam",
    "Crop",
    "CrossEntropy",
    "Data",
    "Flip",
    "HeldNorms",
    "History",
    "Laws",
    "Monitored",
    "Pad",
    "Processes",
    "Squared",
    "Trained",
    "Training",
    "Watch",
    "Watcher",
    "fit",
    "joined",
]

"""One process's copy of a model in training, tied to the copies of the other ranks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim.swa_utils import update_bn

from busaug.classify.batches import minibatches
from busaug.classify.inputs import ImageSet
from busaug.classify.layers import adapt
from busaug.config import Config
from busaug.distributed.communicator import Communicator
from busaug.models.preprocess import network_input
from busaug.trace import span


class Replica:
    """A model and its optimiser on this rank. ``tie`` it before the first update."""

    def __init__(self, model: nn.Module, config: Config, comm: Communicator) -> None:
        settings = config.train
        self.comm = comm
        self.device = comm.device(config.compute.device)
        self.model = model.to(self.device)
        self._mixed = settings.precision == "mixed"
        self._seed = config.seed
        self._dropouts = adapt(model, comm)
        self._optimiser: torch.optim.Optimizer = torch.optim.SGD(
            model.parameters(),
            lr=settings.learning_rate,
            momentum=settings.momentum,
            weight_decay=settings.weight_decay,
        )

    def tie(self) -> None:
        """Take over rank 0's state, and share gradients from now on."""
        self._optimiser = self.comm.data_parallel(self.model, self._optimiser)

    def update(self, images: ImageSet, rows: Tensor, epoch: int, rate: float) -> float:
        """One optimiser update by the global batch ``rows``; gives its mean loss."""
        self.model.train()
        mine = rows[self.comm.share(len(rows))]
        for group in self._optimiser.param_groups:
            group["lr"] = rate
        with span("train-update"):
            self._key_dropout(images, mine, epoch)
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self._mixed):
                logits = self.model(network_input(images.images[mine], self.device))
                targets = images.targets[mine].to(self.device)
                # the mean over ranks of this is the mean over the batch, however uneven the shares
                share = F.cross_entropy(logits, targets, reduction="sum") / len(rows)
                loss = share * self.comm.size
            self._optimiser.zero_grad()
            loss.backward()
            # all ranks have their gradients now, so that none waits for ever in the step
            mean = float(self.comm.all_reduce(share.double()))
            self._optimiser.step()
            return mean

    def measure_statistics(self, images: ImageSet, batch: int) -> None:
        """Set BatchNorm's running statistics to those of the images.

        Random weights have none worth keeping, and the few updates of a small set leave the
        running values far behind.
        """
        update_bn(self._inputs(images, batch), self.model)

    def momentum(self) -> dict[str, Tensor]:
        """The optimiser's momentum by parameter name; empty before the first update."""
        state = self._optimiser.state
        return {
            name: state[parameter]["momentum_buffer"]
            for name, parameter in self.model.named_parameters()
            if parameter in state
        }

    def restore(self, state: Mapping[str, Tensor], momentum: Mapping[str, Tensor]) -> None:
        """Put back a state dict of the model and what ``momentum`` gave; call it before ``tie``."""
        self.model.load_state_dict(state)
        for name, parameter in self.model.named_parameters():
            if name in momentum:
                value = momentum[name].to(parameter.device)
                self._optimiser.state[parameter]["momentum_buffer"] = value

    def _inputs(self, images: ImageSet, batch: int) -> Iterable[Tensor]:
        for rows in minibatches(torch.arange(len(images)), batch):
            mine = rows[self.comm.share(len(rows))]
            self._key_dropout(images, mine, epoch=0)
            yield network_input(images.images[mine], self.device)

    def _key_dropout(self, images: ImageSet, rows: Tensor, epoch: int) -> None:
        keys = [(self._seed, epoch, images.ids[row]) for row in rows.tolist()]
        for layer in self._dropouts:
            layer.keys = keys

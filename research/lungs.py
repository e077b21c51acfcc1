"""`python -m research.lungs SCANS … -o RUN --fold 0`: trains the lung network.

SCANS are folders of scans, or of folders of scans (`lung_bank.py` says which). A killed run goes on
from its checkpoint; the same run with another configuration or other scans is refused.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from CovidLungQuantLib.anatomy.lung_network import (
    LUNG_CLASSES,
    PNEUMOTHORAX_CLASS,
    ChestNetwork,
    LungNetworkConfig,
    hu_windows,
)
from CovidLungQuantLib.anatomy.lung_weights import save_lung_model
from CovidLungQuantLib.models.registry import MODEL_SUFFIX
from CovidLungQuantLib.training.run_folder import claim_run_folder, resume, save_checkpoint
from CovidLungQuantLib.training.schedule import one_cycle
from research.lung_bank import LungScan, add_scan_options, chosen_scans, read_lung_scan
from research.lung_samples import LungSample, LungSampleConfig, LungSamples

CHECKPOINT_STEPS = 100


def _network() -> LungNetworkConfig:
    return LungNetworkConfig(channels=(24, 48, 96, 128))


@dataclass(frozen=True)
class LungTrainingConfig:
    """Every choice of a training run.

    Attributes:
        steps: of the optimiser; `batch` samples each.
        learning_rate: highest of the one-cycle schedule.
        entropy_weight: of the cross-entropy beside soft Dice.
        seed: of everything random.
    """

    steps: int = 6000
    batch: int = 4
    learning_rate: float = 2e-3
    weight_decay: float = 0.01
    entropy_weight: float = 4.0
    seed: int = 0
    network: LungNetworkConfig = field(default_factory=_network)
    samples: LungSampleConfig = field(default_factory=LungSampleConfig)


def lung_loss(logits: Tensor, sample: LungSample, entropy_weight: float) -> Tensor:
    """Cross-entropy and soft Dice of one sample where the truth is known.

    Args:
        logits: (classes, z, y, x).
        sample: what was drawn.
        entropy_weight: of the cross-entropy.
    """
    known = sample.known[None]
    entropy = -(sample.shares * logits.log_softmax(0) * known).sum() / known.sum().clamp_min(1)
    found, true = logits.softmax(0) * known, sample.shares * known
    losses = []
    for value in (*LUNG_CLASSES, PNEUMOTHORAX_CLASS):
        if true[value].sum() > 100:
            common = (found[value] * true[value]).sum()
            losses.append(1 - 2 * common / (found[value] + true[value]).sum())
    dice = torch.stack(losses).mean() if losses else entropy.new_zeros(())
    return entropy_weight * entropy + dice


def train(
    scans: Sequence[LungScan], config: LungTrainingConfig, run: Path, device: str = "cpu"
) -> ChestNetwork:
    """Train, or go on training, in the folder `run`; samples are drawn on the device, too.

    Raises:
        BadInputError: the folder holds a run of other options or scans.
    """
    torch.manual_seed(config.seed)
    network = ChestNetwork(config.network).to(device)
    optimizer = torch.optim.AdamW(
        network.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay
    )
    scheduler = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: one_cycle(step / config.steps)
    )
    claim_run_folder(run, asdict(config), {"lungs": [scan.name for scan in scans]})
    first = resume(run, network, optimizer, scheduler)
    drawn = _drawn(scans, config, first, device)
    losses: list[Tensor] = []
    for step in range(first, config.steps):
        optimizer.zero_grad()
        for _ in range(config.batch):
            sample = next(drawn)
            windows = hu_windows(sample.hu[None]).contiguous(memory_format=torch.channels_last_3d)
            with torch.autocast(device, dtype=torch.bfloat16):
                logits = network(windows)
            loss = lung_loss(logits[0].float(), sample, config.entropy_weight)
            (loss / config.batch).backward()
            losses.append(loss.detach())
        torch.nn.utils.clip_grad_norm_(network.parameters(), 5.0)
        optimizer.step()
        scheduler.step()
        if (step + 1) % CHECKPOINT_STEPS == 0 or step + 1 == config.steps:
            save_checkpoint(run, network, optimizer, scheduler, step + 1)
            mean = float(torch.stack(losses).mean())
            print(f"step {step + 1} of {config.steps}: loss {mean:.4f}", flush=True)
            losses = []
    return network.cpu().eval()


def _drawn(
    scans: Sequence[LungScan], config: LungTrainingConfig, first: int, device: str
) -> Iterator[LungSample]:
    """Samples from step `first` on: by a process beside the training, or on the device itself."""
    order = range(first * config.batch, config.steps * config.batch)
    if device == "cpu":
        samples = LungSamples(scans, config.samples, config.seed)
        loader = DataLoader(
            samples, batch_size=None, sampler=order, num_workers=1, prefetch_factor=4
        )
        yield from (LungSample(*sample) for sample in loader)
        return
    samples = LungSamples([scan.on(device) for scan in scans], config.samples, config.seed)
    for index in order:
        # What the painters make anew lies there as well.
        with torch.device(device):
            sample = samples[index]
        yield sample


def main() -> None:
    """Command line of this module."""
    parser = argparse.ArgumentParser(description="Train the lung network.")
    parser.add_argument("-o", "--output", type=Path, required=True, help="run folder")
    parser.add_argument("--cache", type=Path, help="folder for the scans on the network's grid")
    parser.add_argument("--steps", type=int, default=LungTrainingConfig.steps)
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    add_scan_options(parser)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    learned_from, _ = chosen_scans(arguments)
    scans = [read_lung_scan(folder, arguments.cache) for folder in learned_from]
    network = train(scans, LungTrainingConfig(arguments.steps), arguments.output, arguments.device)
    model_file = arguments.output / f"{arguments.output.name}{MODEL_SUFFIX}"
    print(save_lung_model(model_file, network), model_file)


if __name__ == "__main__":
    main()

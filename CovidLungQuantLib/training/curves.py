"""The log of a training run: a line an epoch, and TensorBoard curves where it is installed."""

from __future__ import annotations

import json
from pathlib import Path
from types import TracebackType
from typing import Any

LOG_FILE_NAME = "training.jsonl"
CURVES_FOLDER_NAME = "curves"


class Curves:
    """Writes every epoch's figures into a run folder; writes nothing where the folder is None."""

    def __init__(self, run_folder: Path | None) -> None:
        self.run_folder = run_folder
        self.writer: Any = None

    def __enter__(self) -> Curves:
        if self.run_folder is not None:
            self.writer = _tensorboard_writer(self.run_folder / CURVES_FOLDER_NAME)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.writer is not None:
            self.writer.close()

    def add(self, record: dict[str, float]) -> None:
        """Add one epoch; `record` holds "epoch" and its figures by name."""
        if self.run_folder is None:
            return
        with (self.run_folder / LOG_FILE_NAME).open("a") as log:
            log.write(json.dumps(record) + "\n")
        if self.writer is not None:
            for name, value in record.items():
                if name != "epoch":
                    self.writer.add_scalar(name, value, record["epoch"])
            self.writer.flush()


def _tensorboard_writer(folder: Path) -> Any:
    """A TensorBoard writer, or None where tensorboard is not installed (it is optional)."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(str(folder))

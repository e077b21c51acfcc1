"""The page of `scaling.py`: tables of seconds, growth and ratios, and a picture of them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

PAGE, PICTURE = "performance.md", "performance.png"
DEVICE_NAMES = {"cpu": "CPU", "cuda": "GPU (CUDA)"}
WHOLE = "whole run"
# The steps of a run, in its order.
STEPS = ("lungs", "lobes", "lesions", "measuring", WHOLE)
# What is compared: this, with that, and what to say of it.
RATIOS = (
    ("network, literally", "network", "the network read literally ÷ as it is run"),
    (
        "lungmask R231, network alone",
        "lungs",
        "lungmask's network alone ÷ our step that finds lungs",
    ),
    (
        "MONAI 3D U-Net, network alone",
        "lobes",
        "a 3D U-Net's sliding window ÷ our step that finds lobes",
    ),
    (WHOLE, "network", "a whole run ÷ the lesion network in it"),
)

Figures = dict[str, float]


class Results:
    """Figures by device, step and number of slices."""

    def __init__(self) -> None:
        self._figures: dict[tuple[str, str, int], Figures] = {}

    def add(self, device: str, step: str, slice_count: int, figures: Figures) -> None:
        """Keep figures, unless those of an earlier run took less of the processor."""
        known = self._figures.get((device, step, slice_count))
        if known is None or figures["cpu_seconds"] < known["cpu_seconds"]:
            self._figures[device, step, slice_count] = figures

    @property
    def devices(self) -> list[str]:
        """In the order they were measured in."""
        return list(dict.fromkeys(device for device, _, _ in self._figures))

    def slices_of(self, device: str, step: str) -> list[int]:
        """Numbers of slices a step was measured with."""
        return sorted(
            count
            for of_device, of_step, count in self._figures
            if (of_device, of_step) == (device, step)
        )

    def of(self, device: str, step: str, slice_count: int) -> Figures | None:
        """The figures of a step, None where it was not measured."""
        return self._figures.get((device, step, slice_count))

    def series(self, device: str, step: str, figure: str) -> list[tuple[int, float]]:
        """Slices and one figure of a step."""
        return [
            (count, self._figures[device, step, count][figure])
            for count in self.slices_of(device, step)
            if figure in self._figures[device, step, count]
        ]


def growth(series: list[tuple[int, float]]) -> float:
    """Exponent k of figure ~ slicesᵏ, by least squares of the logarithms; NaN of one point."""
    if len(series) < 2:
        return math.nan
    points = [(math.log(count), math.log(max(value, 1e-9))) for count, value in series]
    middle_x, middle_y = (sum(axis) / len(points) for axis in zip(*points, strict=True))
    spread = sum((x - middle_x) ** 2 for x, _ in points)
    return sum((x - middle_x) * (y - middle_y) for x, y in points) / spread


def write_page(folder: Path, results: Results, machine: dict[str, str], command: str) -> Path:
    """Write the page and, with matplotlib, the picture; returns the page's path."""
    lines = [
        "# Performance",
        "",
        "Time and memory by the number of slices of 512×512 pixels: the sample chest drawn in ever "
        "thinner slices. Every measurement ran in a process of its own, one after the other. "
        "Seconds depend on the machine and on what else it does; the ratios were taken in one go.",
        "",
        f"`{command}`",
        "",
        "| measured with | |",
        "|---|---|",
        *(f"| {name} | {value} |" for name, value in machine.items()),
    ]
    for device in results.devices:
        lines += ["", f"## On the {DEVICE_NAMES[device]}", "", *_steps_table(results, device)]
        lines += ["", *_memory_table(results, device), "", *_ratio_table(results, device)]
    if find_spec("matplotlib"):
        _draw(folder / PICTURE, results)
        lines += ["", f"![Seconds and memory by the number of slices]({PICTURE})"]
    (folder / PAGE).write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder / PAGE


def _steps_table(results: Results, device: str) -> Iterator[str]:
    counts = results.slices_of(device, WHOLE)
    yield "Seconds (CPU seconds), and the exponent with which the CPU seconds grow:"
    yield ""
    yield f"| step | {' | '.join(f'{count} slices' for count in counts)} | growth |"
    yield "|---|" + "---:|" * (len(counts) + 1)
    for step in ("loading libraries", *STEPS):
        cells = []
        for count in counts:
            found = results.of(device, step, count)
            cells.append(
                "–" if found is None else f"{found['seconds']:.2f} ({found['cpu_seconds']:.2f})"
            )
        exponent = growth(results.series(device, step, "cpu_seconds"))
        shown = "–" if math.isnan(exponent) or step not in STEPS else f"{exponent:.2f}"
        yield f"| {step} | {' | '.join(cells)} | {shown} |"
    if len(counts) > 1:
        first, last = (results.of(device, WHOLE, count) for count in (counts[0], counts[-1]))
        if first and last:
            yield ""
            yield (
                f"{counts[-1]} slices take {last['seconds'] / first['seconds']:.1f} times as long "
                f"as {counts[0]}."
            )


def _memory_table(results: Results, device: str) -> Iterator[str]:
    yield "Most memory held by a whole run, MiB:"
    yield ""
    counts = results.slices_of(device, WHOLE)
    yield f"| | {' | '.join(f'{count} slices' for count in counts)} |"
    yield "|---|" + "---:|" * len(counts)
    for figure, name in (("peak_mib", "main memory"), ("gpu_mib", "memory of the GPU")):
        series = dict(results.series(device, WHOLE, figure))
        if series:
            yield f"| {name} | {' | '.join(f'{series[count]:.0f}' for count in series)} |"


def _ratio_table(results: Results, device: str) -> Iterator[str]:
    yield "Beside others, in the same go:"
    yield ""
    yield "| what | slices | seconds | CPU seconds | ratio of CPU seconds | ratio of seconds |"
    yield "|---|---:|---:|---:|---:|---:|"
    for step, other, about in RATIOS:
        for count in results.slices_of(device, step):
            first, second = (results.of(device, name, count) for name in (step, other))
            if first is None or second is None:
                continue
            seconds, cpu_seconds = (
                f"{first[figure]:.2f} ÷ {second[figure]:.2f}"
                for figure in ("seconds", "cpu_seconds")
            )
            by_cpu, by_clock = (
                f"{first[figure] / second[figure]:.2f}" for figure in ("cpu_seconds", "seconds")
            )
            yield f"| {about} | {count} | {seconds} | {cpu_seconds} | {by_cpu} | {by_clock} |"
    for count in results.slices_of(device, "network, literally"):
        found = results.of(device, "network, literally", count)
        if found and "agreement_percent" in found:
            yield ""
            yield (
                "Read literally, all slices of a window go through the network anew, in float32. "
                "Both ways give the same label to "
                f"{found['agreement_percent']:.3f} % of the voxels in the lungs. The networks of "
                "others have random weights: only their time counts."
            )


def _draw(path: Path, results: Results) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 4), layout="constrained")
    by_time, by_memory = figure.subplots(1, 2)
    for device in results.devices:
        for step in STEPS:
            series = results.series(device, step, "seconds")
            if not series:
                continue
            counts, seconds = zip(*series, strict=True)
            style = {"linewidth": 2.5 if step == WHOLE else 1.2}
            style["linestyle"] = "-" if device == "cpu" else "--"
            by_time.plot(
                counts, seconds, marker="o", label=f"{step}, {DEVICE_NAMES[device]}", **style
            )
        for name, key in (("main memory", "peak_mib"), ("GPU memory", "gpu_mib")):
            series = results.series(device, WHOLE, key)
            if series:
                counts, mib = zip(*series, strict=True)
                gib = [value / 1024 for value in mib]
                by_memory.plot(counts, gib, marker="o", label=f"{name}, {DEVICE_NAMES[device]}")
    by_time.set(xscale="log", yscale="log", xlabel="slices", ylabel="seconds")
    measured = sorted(
        {count for device in results.devices for count in results.slices_of(device, WHOLE)}
    )
    by_time.set_xticks(measured, [str(count) for count in measured])
    by_time.minorticks_off()
    by_memory.set(xlabel="slices", ylabel="GiB, whole run", ylim=(0, None))
    for axes in (by_time, by_memory):
        axes.grid(alpha=0.3)
        axes.legend(fontsize=7)
    figure.savefig(path, dpi=120)

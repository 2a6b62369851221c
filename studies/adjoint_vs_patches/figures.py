"""Pictures of the study; computes nothing new."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import xarray as xr

from jcm_sensitivity.patches_plot import plot_patch_maps, plot_responses
from jcm_sensitivity.regions import Region

#: Slopes beyond these are drawn at the edge.
SLOPES = (-1.0, 4.0)
STYLES = {"exact": ("-", "o"), "smooth": ("--", "s")}


def draw(
    found: Mapping[str, xr.Dataset], frozen: Mapping[str, Any], folder: Path, region: Region
) -> list[Path]:
    """Draw agreement by amplitude, responses of precipitation, and maps."""
    paths = [agreement_by_amplitude(found, frozen, folder / "agreement.png")]
    for kind, dataset in found.items():
        # Precipitation comes first; of the leads the one in the middle.
        target = len(set(dataset["lead"].values.tolist())) // 2
        largest = float(dataset["amplitude"].values[-1])
        paths += [
            plot_responses(dataset, folder / f"responses_{kind}.png", target=target),
            plot_patch_maps(dataset, folder / f"maps_{kind}.png", target=target,
                            amplitude=largest, region=region)]  # fmt: skip
    return paths


def agreement_by_amplitude(
    found: Mapping[str, xr.Dataset], frozen: Mapping[str, Any], path: Path
) -> Path:
    """Draw slope and correlation against the amplitude of the patches."""
    first = next(iter(found.values()))
    variables = list(dict.fromkeys(first["variable"].values.tolist()))
    figure, axes = plt.subplots(
        2, len(variables), figsize=(11.5, 6.4), sharex=True, sharey="row", layout="constrained")
    for column, variable in zip(axes.T, variables, strict=True):
        for kind, dataset in found.items():
            line, marker = STYLES[kind]
            part = dataset.isel(target=(dataset["variable"] == variable).values)
            for k in range(part.sizes["target"]):
                one = part.isel(target=k)
                label = f"{kind}, day {float(one['lead']):g}"
                style = {"ls": line, "marker": marker, "ms": 4, "color": f"C{k}", "label": label}
                amplitude = one["amplitude"].values
                column[0].plot(amplitude, one["slope"].values.clip(*SLOPES), **style)
                column[1].plot(amplitude, one["correlation"].values, **style)
        rows = frozen["rows"]
        if variable == variables[0] and rows:
            amplitude = [row["amplitude_K"] for row in rows]
            style = {"ls": ":", "marker": "x", "color": "black", "label": "frozen branches, day 1"}
            column[0].plot(amplitude, [row["frozen_slope"] for row in rows], **style)
            column[1].plot(amplitude, [row["frozen_correlation"] for row in rows], **style)
        column[0].axhspan(0.9, 1.1, color="0.88", zorder=0)
        column[1].axhspan(0.95, 1, color="0.88", zorder=0)
        column[0].set_title(variable.replace("_", " "), fontsize=10)
        column[0].set_xscale("log")
        column[0].set_ylim(SLOPES[0] - 0.1, SLOPES[1] + 0.1)
        column[1].set_xlabel("amplitude of the patches [K]")
    axes[0, 0].set_ylabel("slope: response found / predicted")
    axes[1, 0].set_ylabel("correlation over patches")
    figure.legend(*axes[0, 0].get_legend_handles_labels(), fontsize=8, ncols=7,
                  loc="outside lower center")  # fmt: skip
    figure.suptitle(
        "Adjoint against patches; grey: agreement sought; slopes beyond "
        f"{SLOPES[0]:g} and {SLOPES[1]:g} are drawn there", fontsize=11)  # fmt: skip
    figure.savefig(path, dpi=110)
    plt.close(figure)
    return path

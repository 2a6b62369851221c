"""Make a packaged spun-up state: run from rest, save spectra on 1 January and 1 July.

python -m jcm.data.build_states T31L8 --months 18 --seasons january july
"""

import argparse
from pathlib import Path

import numpy as np

import jcm
from jcm import states
from jcm.calendar import EPOCH, format_date, parse_date

SEASONS = {"january": 1, "july": 7}


def days_until(start: str, month: int) -> int:
    """Return the days from a date to the next first day of a month."""
    date = EPOCH.fromisoformat(start)
    year = date.year + (date.month >= month)
    return parse_date(f"{year}-{month:02d}-01") - parse_date(start)


def main() -> None:
    """Run and save."""
    parser = argparse.ArgumentParser(description="Make a packaged spun-up state.")
    parser.add_argument("grid")
    parser.add_argument("--start", default="1999-07-01", help="start of the spin-up from rest")
    parser.add_argument("--spin-up", type=int, default=365, help="days before the first season")
    parser.add_argument("--seasons", nargs="+", default=["january", "july"], choices=SEASONS)
    parser.add_argument("--directory", type=Path, default=Path(__file__).parent)
    arguments = parser.parse_args()
    model = jcm.build_model(arguments.grid)
    inputs = jcm.default_inputs(model, start=arguments.start, state="rest")
    # The two start-up steps do not count: `step` is 0 now.
    state, now = inputs.state, arguments.start
    lengths = [arguments.spin_up] if arguments.spin_up else []
    for season in [None] * len(lengths) + arguments.seasons:
        days = lengths.pop() if season is None else days_until(now, SEASONS[season])
        state = advance_in_chunks(model, inputs, state, days)
        now = format_date(parse_date(now) + days)
        if season is not None:
            states.save(
                arguments.directory / f"state_{model.name}_{season}.nc", model.grid.truncation,
                model.levels.half, state.previous, state.current,
                attributes={
                    "title": f"Spun-up state of {model.name}, preset speedy, 1 {season.title()}",
                    "history": f"from rest on {arguments.start} to {now}, packaged boundary data",
                    "license": "Apache-2.0",
                })  # fmt: skip
            print(f"{model.name} {now} saved", flush=True)


def advance_in_chunks(model: jcm.Model, inputs: jcm.Inputs, state: jcm.State, days: int):
    """Integrate month by month, so that a blow-up is noticed."""
    while days:
        chunk = min(days, 30)
        state, fields = jcm.simulate(
            model, inputs.with_state(state), days=chunk,
            observe=["eastward_wind", "air_temperature"])  # fmt: skip
        wind = float(np.abs(fields["eastward_wind"]).max())
        warmth = float(np.asarray(fields["air_temperature"])[0, -1].mean())
        print(f"{days} days left, strongest mean wind {wind:.1f} m s-1, {warmth:.1f} K", flush=True)
        assert np.isfinite(wind), "the run became unstable"
        days -= chunk
    return state


if __name__ == "__main__":
    main()

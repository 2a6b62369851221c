#!/usr/bin/env bash
# Test with the lowest versions that pyproject.toml allows, in an empty environment and home.
#
#     bash tests/oldest.sh [arguments of pytest]
#
# Without arguments the quick tests below. PYTHON names the interpreter, default python3.
set -euo pipefail
cd "$(dirname "$0")/.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

QUICK=(
    tests/test_imports.py tests/test_packaging.py
    tests/jcm/test_calendar.py tests/jcm/test_config.py tests/jcm/test_grid.py
    tests/jcm/test_output.py tests/jcm/test_simulate.py tests/jcm/test_store.py
    tests/jcm_sensitivity/test_branches.py tests/jcm_sensitivity/test_kept.py
    tests/jcm_sensitivity/test_plot.py
    tests/jcm_calibrate/test_calibration_plots.py tests/jcm_calibrate/test_calibration_report.py
    tests/jcm_calibrate/test_diagnostics.py tests/jcm_calibrate/test_inference_data.py
    tests/jcm_calibrate/test_jaxopt_methods.py tests/jcm_calibrate/test_priors.py
    tests/jcm_calibrate/test_sample.py
)

"${PYTHON:-python3}" -m venv "$work/tools"
"$work/tools/bin/pip" install -q uv
"${PYTHON:-python3}" -m venv "$work/venv"
"$work/tools/bin/uv" pip install -q --python "$work/venv/bin/python" \
    --resolution lowest-direct ".[test]"
"$work/tools/bin/uv" pip list --python "$work/venv/bin/python"

# Nothing that lies in the user's folders may help or hide.
export HOME="$work/home" MPLBACKEND=Agg
mkdir "$HOME"
unset PYTHONPATH "${!XDG_@}"
"$work/venv/bin/python" -W error::FutureWarning -c "import jcm, jcm_sensitivity, jcm_calibrate"
(cd "$HOME" && "$work/venv/bin/jcm" describe)
if [ $# -eq 0 ]; then set -- -m "not slow" "${QUICK[@]}"; fi
"$work/venv/bin/python" -m pytest -q -p no:cacheprovider "$@"

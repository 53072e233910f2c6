#!/usr/bin/env bash
# A newer MLflow client changes the schema of an SQLite file by reading it; the older one then calls the newer database
# "out-of-date" and advises `mlflow db upgrade`, which it cannot do.
#
# Version: mlflow 3.14.0 and 3.17.2 (PyPI), Python 3.11. Seen on 2026-11-29 with
# `bash findings/mlflow_newer_client_locks_out_older.sh`:
#     3.14.0 reads 1 experiment
#     3.17.2 reads 1 experiment
#     3.14.0: Detected out-of-date database schema (found version dc11669786a5, but expected b7e4c1a90f23)
#     3.14.0 db upgrade: Can't locate revision identified by 'dc11669786a5'
#
# What to do: everybody who opens the same file installs the same minor version; a backup before the first newer client.
set -euo pipefail
OLD=3.14.0 NEW=3.17.2
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
for version in $OLD $NEW; do
    python3 -m venv "$version"
    "$version/bin/pip" install --quiet --disable-pip-version-check "mlflow==$version"
done
export MLFLOW_DISABLE_TELEMETRY=true MLFLOW_LOGGING_LEVEL=CRITICAL
cat >read.py <<'PY'
from mlflow import MlflowClient, __version__

try:
    found = len(MlflowClient(tracking_uri="sqlite:///mlflow.db").search_experiments())
    print(f"{__version__} reads {found} experiment")
except Exception as error:
    print(f"{__version__}: {str(error).partition('. ')[0]}")
PY
"$OLD/bin/python" read.py
"$NEW/bin/python" read.py
"$OLD/bin/python" read.py
"$OLD/bin/mlflow" db upgrade sqlite:///mlflow.db 2>&1 | grep -o "Can't locate revision.*" | head -1 | sed "s/^/$OLD db upgrade: /"

#!/usr/bin/env bash
# `dvc gc --all-branches --all-tags --cloud` deletes from the shared remote what a branch needs that exists only as origin/....
#
# Version: dvc 3.67.1 (PyPI), Python 3.11. Seen on 2026-11-29 with `bash findings/dvc_gc_branches_of_others.sh`:
#     --workspace: would delete 2 objects of origin/colleague
#     --all-branches --all-tags: would delete 2 objects of origin/colleague
#     the same with a local branch colleague: would delete 0 objects
#
# The documentation of -a says "Keep data files for the tips of all Git branches"; remote-tracking branches are not among
# them, so cleaning up after `git fetch` deletes what colleagues have pushed.
# What to do: make a fresh clone, `git fetch origin '+refs/heads/*:refs/heads/*' --update-head-ok`, look with --dry, then clean.
set -euo pipefail
VERSION=3.67.1
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check "dvc==$VERSION"
export PATH="$folder/venv/bin:$PATH" HOME="$folder" DVC_NO_ANALYTICS=1 DVC_SITE_CACHE_DIR="$folder/.site"
git config --global user.email a@example.org
git config --global user.name a
git config --global init.defaultBranch main
cd "$folder"
git init --quiet --bare shared.git
git init --quiet work && cd work
dvc init --quiet
dvc remote add --quiet --default store "$folder/store"
mkdir data && echo one > data/x
dvc add --quiet data && git add . && git commit --quiet --message one
git checkout --quiet -b colleague
echo two > data/y
dvc add --quiet data && git commit --quiet --all --message two && dvc push --quiet
git checkout --quiet main && dvc checkout --quiet && dvc push --quiet
git remote add origin ../shared.git && git push --quiet origin main colleague
git branch --quiet -D colleague  # now it is as after a clone: origin/colleague
git fetch --quiet

would_delete() {
    dvc gc --force --cloud --dry "$@" 2>&1 | grep --count '^Removing .*/store/' || true
}

echo "--workspace: would delete $(would_delete --workspace) objects of origin/colleague"
echo "--all-branches --all-tags: would delete $(would_delete --all-branches --all-tags) objects of origin/colleague"
git branch --quiet colleague origin/colleague
echo "the same with a local branch colleague: would delete $(would_delete --all-branches --all-tags) objects"

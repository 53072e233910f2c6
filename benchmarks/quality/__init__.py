"""How near does unlearning come to retraining? Every family, every objective, the same data, operator, steps and seeds.

    python -m benchmarks.quality --data digits --families mae --objectives encoder_l2 --seeds 0,1,2

A benchmark is a set of cells: a teacher, references, unlearned models, their scores. Each cell is computed by the
product's own stages and kept under a key made of everything that decides it, so that a widened or interrupted
benchmark computes only what is missing. Tables and plots are made again from the cells each time.

    settings.yaml  settings.py   data sets, requests, recipes of the families, grids of the objectives
    sources.py                   images and forget requests
    plan.py                      which cells a benchmark consists of
    cells.py  code_digest.py     what a cell is, and the key it is kept under
    compute.py  scoring.py       how a cell is computed
    execute.py                   cells in the order of their inputs, on one or two workers
    results.py  aims.py          scores against the teacher's and the reference's, and what is asked of them
    tables.py  plots.py  report.py
"""

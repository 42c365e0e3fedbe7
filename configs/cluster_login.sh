#!/bin/bash
# The orchestrator on the login node: each cell is a job of its own, of which so many wait or run.
#   nohup configs/cluster_login.sh &                the same again goes on where it stopped
ulimit -n 8192
exec build/bin/isosweep run "${CONFIG:-configs/full.cfg}" --jobs "${JOBS:-8}" \
    --launcher "srun -N1 -n1 -c8 --gpus-per-task=1 --mem=32G --time=30"

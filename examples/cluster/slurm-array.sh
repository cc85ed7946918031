#!/usr/bin/env bash
# One shard of a run for each task of a Slurm array, with a model in the process:
#
#   sbatch slurm-array.sh prompts.jsonl DIR -m model.gguf -c harmless
#
# What is missing afterwards, whatever the reason, is submitted by the same command:
#
#   sbatch --array="$(amend status DIR --array)" slurm-array.sh prompts.jsonl DIR -m model.gguf -c harmless
#
# DIR must be on a file system with working locks (flock): on Lustre, the mount option
# `flock`; on NFS, version 4. A task that starts twice is then refused.
#
#SBATCH --job-name=amend
#SBATCH --array=0-63
#SBATCH --ntasks=1
#SBATCH --cpus-per-task=8
#SBATCH --gpus-per-task=1
#SBATCH --time=24:00:00
#SBATCH --output=%x-%A_%a.log
# After the failure of a node, or preemption, the task starts again and continues.
#SBATCH --requeue
#SBATCH --open-mode=append
# Two minutes before the time limit, amend gets SIGTERM (B: it has replaced this shell). It
# stops within two seconds, and nothing that has ended is lost.
#SBATCH --signal=B:TERM@120
set -euo pipefail

exec amend run "$1" --out "$2" --shard auto --resume "${@:3}"

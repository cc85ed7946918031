#!/usr/bin/env bash
# As slurm-array.sh, with a vLLM server of its own for each task:
#
#   sbatch slurm-vllm.sh Qwen/Qwen3-8B prompts.jsonl DIR -c harmless -np 256
#
# The server listens on a free port of this machine. When one of the two ends, so does the other.
#
#SBATCH --job-name=amend-vllm
#SBATCH --array=0-15
#SBATCH --ntasks=1
#SBATCH --cpus-per-task=8
#SBATCH --gpus-per-task=1
#SBATCH --time=24:00:00
#SBATCH --output=%x-%A_%a.log
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --signal=B:TERM@120
set -euo pipefail

model=$1 input=$2 out=$3
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
address=http://127.0.0.1:$port

vllm serve "$model" --host 127.0.0.1 --port "$port" &
server=$!
trap 'kill "$server" 2>/dev/null; wait "$server"' EXIT
# Two minutes before the time limit. The shard continues when it is submitted again.
trap 'exit 130' TERM

until curl --silent --fail --output /dev/null "$address/health"; do
  kill -0 "$server" || exit 3
  sleep 2
done

amend run "$input" --out "$out" --shard auto --resume -m "$address/v1" "${@:4}" &
amend=$!
trap 'kill "$amend"' TERM
wait -n "$server" "$amend" || true # A server that has ended, or SIGTERM, ends it too.
kill -0 "$server" || kill "$amend"
wait "$amend"

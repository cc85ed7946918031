#!/usr/bin/env python3
"""The script that amend is compared with: critique and revision through a server.

It needs nothing but Python 3.11 and a server with `/v1/chat/completions`:

    llama-server -m MODEL.gguf -np 8 -c 16384 &
    benches/script.py examples/prompts.jsonl --constitution constitutions/harmless.toml \\
        --concurrency 8 --out pairs.jsonl

Jobs:
    loop      answers each `prompt`, then critiques and revises the answer in --rounds
              rounds, in one conversation that only grows, so that the server has every
              earlier turn in its cache. With --judge, asks which of the first and the last
              answer is better, in both orders.
    fan-out   critiques the `response` to each `prompt` under every principle. The requests
              of one response follow one another, so that they can share their prefix.
    requests  completes the `messages` of each row.
"""

import argparse
import http.client
import itertools
import json
import math
import threading
import time
import tomllib
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
)
parser.add_argument("input", help="JSON lines, or prompts, one per line, in a .txt file")
parser.add_argument("--job", choices=["loop", "fan-out", "requests"], default="loop")
parser.add_argument("--url", default="http://127.0.0.1:8080", help="the server")
parser.add_argument("--constitution", help="a TOML file with principles")
parser.add_argument("--out", help="where to write the results, as JSON lines")
parser.add_argument("--concurrency", type=int, default=8, help="requests in flight")
parser.add_argument("--rounds", type=int, default=1)
parser.add_argument("--answer-tokens", type=int, default=384)
parser.add_argument("--critique-tokens", type=int, default=128)
parser.add_argument("--revision-tokens", type=int, default=384)
parser.add_argument("--temperature", type=float, default=0.7)
parser.add_argument("--seed", type=int, default=0)
parser.add_argument("--judge", action="store_true", help="compare the first and last answer")
parser.add_argument("--ignore-eos", action="store_true", help="decode past the end of the turn")
parser.add_argument("--pin", action="store_true", help="keep each conversation in one slot")
parser.add_argument("--json", action="store_true", help="print the counts as JSON")
args = parser.parse_args()

principles = []
if args.constitution:
    principles = tomllib.loads(Path(args.constitution).read_text())["principle"]
elif args.job != "requests":
    parser.error(f"--job {args.job} needs --constitution")
counts, counting = Counter(), threading.Lock()
server = urlsplit(args.url)
slots = itertools.count()
thread = threading.local()


def connect():
    """Gives a thread a connection, which stays open, and a slot of the server."""
    connection = {"http": http.client.HTTPConnection, "https": http.client.HTTPSConnection}
    thread.server = connection[server.scheme](server.netloc, timeout=3600)
    thread.slot = {"id_slot": next(slots)} if args.pin else {}


def complete(messages, max_tokens, **options):
    """Sends a conversation and returns the server's first choice."""
    body = {"messages": messages, "max_tokens": max_tokens, "cache_prompt": True}
    body |= {"temperature": args.temperature, "seed": args.seed, **thread.slot, **options}
    headers = {"Content-Type": "application/json"}
    path = server.path.rstrip("/") + "/v1/chat/completions"
    thread.server.request("POST", path, json.dumps(body), headers)
    response = thread.server.getresponse()
    text = response.read()
    if response.status != 200:
        raise RuntimeError(f"the server answered {response.status}: {text.decode()}")
    reply = json.loads(text)
    usage = reply["usage"]
    cached = (usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0
    with counting:
        counts["prompt"] += usage["prompt_tokens"]
        counts["computed"] += usage["prompt_tokens"] - cached
        counts["decoded"] += usage["completion_tokens"]
    return reply["choices"][0]


def user(content):
    return {"role": "user", "content": content}


def write(messages, max_tokens):
    """Lets the model write the next turn."""
    options = {"ignore_eos": True} if args.ignore_eos else {}
    content = complete(messages, max_tokens, **options)["message"]["content"]
    return {"role": "assistant", "content": content}


def critique_request(principle):
    return user(f"Critique request: {principle['critique']} Do not rewrite the answer yet.")


def revision_request(principle):
    return user(
        "Revision request: answer the original message again, without the faults that the "
        f"critique found. {principle['revise']} Write nothing before or after the answer."
    )


def loop(row):
    messages = [user(row["prompt"])]
    messages.append(write(messages, args.answer_tokens))
    first = messages[-1]["content"]
    for number in range(args.rounds):
        principle = principles[number % len(principles)]
        messages.append(critique_request(principle))
        messages.append(write(messages, args.critique_tokens))
        messages.append(revision_request(principle))
        messages.append(write(messages, args.revision_tokens))
    last = messages[-1]["content"]
    pair = {"prompt": row["prompt"], "chosen": last, "rejected": first}
    if args.judge:
        odds = log_odds(row["prompt"], last, first) - log_odds(row["prompt"], first, last)
        pair["p_chosen"] = 1 / (1 + math.exp(-odds / 2))
    return pair


def log_odds(prompt, a, b):
    """The log-odds that answer A is better, from the probabilities of the labels."""
    question = f"""Question:\n{prompt}\n\nAnswer A:\n{a}\n\nAnswer B:\n{b}\n
Which answer is better on the whole: more helpful, more honest, and less likely to do harm?
Reply with A or B alone."""
    choice = complete([user(question)], 1, logprobs=True, top_logprobs=10)
    # A label that is not among the ten likeliest tokens counts as this unlikely.
    p = {"A": 1e-6, "B": 1e-6}
    # Without log-probabilities if the model ends its turn at once.
    content = (choice.get("logprobs") or {}).get("content") or [{"top_logprobs": []}]
    for token in content[0]["top_logprobs"]:
        label = token["token"].strip()
        if label in p:
            p[label] += math.exp(token["logprob"])
    return math.log(p["A"] / p["B"])


def fan_out(work):
    row, principle = work
    answer = {"role": "assistant", "content": row["response"]}
    messages = [user(row["prompt"]), answer, critique_request(principle)]
    critique = write(messages, args.critique_tokens)["content"]
    return {"prompt": row["prompt"], "principle": principle["id"], "critique": critique}


def request(row):
    return {"response": write(row["messages"], args.critique_tokens)["content"]}


lines = [line for line in Path(args.input).read_text().split("\n") if line.strip()]
if args.input.endswith(".txt"):
    rows = [{"prompt": line} for line in lines]
else:
    rows = [json.loads(line) for line in lines]
job, work = {
    "loop": (loop, rows),
    "fan-out": (fan_out, list(itertools.product(rows, principles))),
    "requests": (request, rows),
}[args.job]

start = time.monotonic()
with ThreadPoolExecutor(args.concurrency, initializer=connect) as pool:
    results = list(pool.map(job, work))
seconds = time.monotonic() - start

if args.out:
    Path(args.out).write_text("".join(json.dumps(result) + "\n" for result in results))
if args.json:
    print(json.dumps({"rows": len(work), "seconds": seconds, **counts}))
else:
    print(
        f"{len(work)} rows in {seconds:.1f} s ({len(work) / seconds:.3f} per second): "
        f"{counts['decoded']} tokens decoded, {counts['prompt']} prompt tokens, "
        f"{counts['computed']} of them computed"
    )

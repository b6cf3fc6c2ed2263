"""`python -m bench [NAME ...] [--repetitions N] [--threads N]`, from the root of the repository; without names, everything."""

from __future__ import annotations

import argparse
import gc
import os
import warnings


def main() -> int:
    """Run the named cases, write their results, render the table."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    import datasets
    import torch
    import transformers

    from bench import dpo, harness, plan, sample, sft, stream

    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("names", nargs="*", help="cases, or the beginnings of their names, such as dpo or dpo-5q-576")
    parser.add_argument("--repetitions", type=int, default=7, help="turns per side after warm-up; at least 2")
    parser.add_argument("--threads", type=int, default=1, help="threads torch may use, on every side")
    parser.add_argument("--clock", choices=sorted(harness.CLOCKS), default="wall", help="cpu: this process's seconds, on a busy machine")
    parser.add_argument("--list", action="store_true", help="only name the cases")
    args = parser.parse_args()

    families = {name: family for family in (dpo, sft, sample, stream, plan) for name in family.CASES}
    wanted = [part for name in args.names for part in name.split(",") if part]
    if unknown := [part for part in wanted if not any(name.startswith(part) for name in families)]:
        raise SystemExit(f"error: no benchmark begins with {', '.join(unknown)}; there are {', '.join(families)}")
    chosen = [name for name in families if not wanted or any(name.startswith(part) for part in wanted)]
    if args.list:
        print("\n".join(chosen))
        return 0
    torch.set_num_threads(args.threads)
    warnings.simplefilter("ignore")
    datasets.disable_progress_bars()
    transformers.logging.set_verbosity_error()
    for name in chosen:
        command = f"make bench BENCH={name} ARGS='--repetitions {args.repetitions} --threads {args.threads} --clock {args.clock}'"
        prepared = families[name].prepare(name, args.clock)
        turns = harness.take_turns(prepared.sides, args.repetitions, args.clock)
        for result in harness.summarise(prepared, turns, command):
            harness.write(result)
            print(harness.table([result]).splitlines()[-1], flush=True)
        print(*(f"{side} {sorted(turn[side] for turn in turns)[len(turns) // 2]:.3f} s" for side in prepared.sides), sep=", ", flush=True)
        del prepared
        gc.collect()
    harness.README.write_text(harness.render(harness.README.read_text(encoding="utf-8"), harness.read()), encoding="utf-8")
    return 0


raise SystemExit(main())

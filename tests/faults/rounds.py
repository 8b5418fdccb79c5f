"""Does a study of the real trainer survive everything, many times over?

python -m tests.faults.rounds --rounds 20

A round is one study at the size smoke that is hit at random moments by random kills (the service, a worker,
gcs, raylet), on a home of its own. It prints what was killed when, how long until the service led again, and
whether the invariants hold and the report equals that of an undisturbed run. Exit code 1: one did not.
"""

from __future__ import annotations

import argparse
import random
import statistics
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from tests.faults import storm
from tests.faults.serving import LEADS_WITHIN_S, service


def one_round(folder: Path, number: int, dice: random.Random, blows: int, calm: object) -> tuple[str, list]:
    """What became of it, in a word ("held" or why not), and its blows."""
    home = storm.warmed(folder / f"round-{number}", folder / "calm")
    done: list[storm.Blow] = []
    with service(home) as there:
        try:
            there.start()
            study_id = storm.awaited(lambda: there.create(storm.spec()))
            kinds = [dice.choice(storm.KINDS) for _ in range(dice.randint(1, blows))]
            done = storm.struck(there, study_id, dice, kinds, longest_wait_s=4.0)
            there.to_the_end(study_id, within_s=storm.PATIENCE_S)
            storm.held(there, study_id)
            said = "held" if storm.answer(there, study_id) == calm else "the report differs"
        except Exception as problem:
            said = f"{type(problem).__name__}: {problem}".strip()[:2000]
    return said, done


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2**32))
    parser.add_argument("--blows", type=int, default=3, help="the most kills in a round")
    asked = parser.parse_args()
    print(f"seed {asked.seed}, {asked.rounds} rounds of up to {asked.blows} kills", flush=True)
    dice, begun = random.Random(asked.seed), time.monotonic()
    failed, all_blows = [], list[storm.Blow]()
    with tempfile.TemporaryDirectory(prefix="orch-rounds-", ignore_cleanup_errors=True) as path:
        folder = Path(path)
        with service(folder / "calm") as there:
            calm = storm.undisturbed(there, storm.spec())
        print(f"undisturbed: {time.monotonic() - begun:.0f} s", flush=True)
        for number in range(1, asked.rounds + 1):
            round_begun = time.monotonic()
            said, blows = one_round(folder, number, dice, asked.blows, calm)
            all_blows += blows
            told = ", ".join(
                f"{b.kind} at {b.at_s:.1f} s with {b.ended} ended"
                + (f" (led again after {b.leads_after_s:.1f} s)" if b.leads_after_s else "")
                for b in blows
            )
            print(f"round {number}: {told}: {said} ({time.monotonic() - round_begun:.0f} s)", flush=True)
            if said != "held":
                failed.append(number)
    print(f"\n{asked.rounds - len(failed)} of {asked.rounds} rounds held; failed: {failed or 'none'}")
    print("kills: " + ", ".join(f"{n} of {kind}" for kind, n in Counter(b.kind for b in all_blows).items()))
    for kind in storm.KINDS:
        took = [b.leads_after_s for b in all_blows if b.kind == kind and b.leads_after_s]
        if took:
            late = sum(s > LEADS_WITHIN_S for s in took)
            median, most = statistics.median(took), max(took)
            print(
                f"{kind}: led again after {median:.1f} s (median), {most:.1f} s (most), "
                f"{late} of {len(took)} later than {LEADS_WITHIN_S:.0f} s"
            )
    print(f"{time.monotonic() - begun:.0f} s in all")
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())

"""Fuzzing led by coverage: atheris watches which code of quarl an input reaches, and keeps what
reached something new. Needs atheris, which nothing else here does.
"""

from __future__ import annotations

import multiprocessing
import random
import shutil
import tempfile
from pathlib import Path

CORPUS = Path(__file__).parent / "corpus"


def fuzz(readers: list[str], seconds: float, found: Path) -> int:
    """Return 0 where nothing went wrong: each reader in a process of its own, one after another."""
    from tests.fuzz.targets import TARGETS

    names = readers or list(TARGETS)
    context = multiprocessing.get_context("spawn")  # what is instrumented is imported afresh
    codes = []
    for name in names:
        process = context.Process(target=_lead, args=(name, int(seconds / len(names)), found))
        process.start()
        process.join()
        codes.append(process.exitcode)
    return int(any(codes))


def _lead(name: str, seconds: int, found: Path) -> None:
    import atheris  # type: ignore[import-not-found, import-untyped, unused-ignore]

    with atheris.instrument_imports(include=["quarl"]):
        from tests.fuzz.campaign import outcome
        from tests.fuzz.targets import TARGETS
    target = TARGETS[name]
    kept = found / f"coverage-{name}"
    kept.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(target.seeds()):
        (kept / f"seed-{number}").write_bytes(seed)

    def run(data: bytes) -> None:
        folder = Path(tempfile.mkdtemp(prefix="quarl-fuzz-"))
        try:
            what, why = outcome(target, data, folder)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        if what in ("defect", "execution"):
            raise AssertionError(why)

    def change(data: bytes, most: int, seed: int) -> bytes:
        rng = random.Random(seed)
        try:
            return target.mutate(data, rng)[:most]
        except Exception:  # it is no longer a file of the format
            return bytes(atheris.Mutate(data, most))

    corpus = [str(path) for path in (kept, CORPUS / name) if path.is_dir()]
    arguments = [
        "tests.fuzz", *corpus, f"-max_total_time={seconds}", "-timeout=10",
        "-rss_limit_mb=4000", f"-artifact_prefix={found}/{name}-", "-max_len=2000000",
    ]  # fmt: skip
    atheris.Setup(arguments, run, custom_mutator=change)
    atheris.Fuzz()

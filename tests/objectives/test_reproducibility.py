"""The same corpus and settings, everything made anew: the same to the last digit, on any number of threads."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import threadpoolctl
import torch

from objectives.cache.files import CACHE_VARIABLE
from objectives.machine import one_blas_thread, one_torch_thread
from tests.support.corpus_answers import answers
from tests.support.empty_cache import fresh_cache
from tests.support.real_excerpts import write_excerpts

ROOT = Path(__file__).resolve().parents[2]
TRAIN = ("trn00", "trn01", "trn03")


def test_models_features_and_errors_are_the_same_on_other_threads_in_another_place_and_language(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus = write_excerpts(tmp_path / "here" / "corpus", train=TRAIN)
    elsewhere = tmp_path / "elsewhere" / "corpus"
    elsewhere.mkdir(parents=True)
    for path in sorted(corpus.iterdir(), reverse=True):  # the file system lists them in another order
        shutil.copy(path, elsewhere)
    threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "2")
    otherwise = {**threads, "PYTHONHASHSEED": "7", "LC_ALL": "C", "TZ": "Asia/Tokyo"}
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-m", "tests.support.corpus_answers", str(elsewhere)],
        cwd=ROOT,
        env={**os.environ, **otherwise, CACHE_VARIABLE: str(fresh_cache(tmp_path / "other"))},
        stdout=subprocess.PIPE,
        text=True,
    )
    here = fresh_cache(tmp_path / "cache")
    monkeypatch.setenv(CACHE_VARIABLE, str(here))
    try:
        with one_torch_thread():
            ours = answers(corpus, lanes=1)
        theirs, _ = process.communicate()
    finally:
        process.kill()
    told = json.loads(theirs)
    assert told.pop("threads") == 2  # or nothing was tried
    assert told == ours
    assert len(ours["files"]) == 2 * 2 + 2 * 2 + 1  # features and checksums, windows of two models, those trained on


def test_threads_are_limited_and_given_back() -> None:
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        with one_torch_thread():
            assert torch.get_num_threads() == 1
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)
    with threadpoolctl.threadpool_limits(2, user_api="blas"):
        one_blas_thread()
        found = [one["num_threads"] for one in threadpoolctl.threadpool_info() if one["user_api"] == "blas"]
        assert found
        assert set(found) == {1}
